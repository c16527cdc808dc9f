"""Codes of the events in the words of the mails: one table for each."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a payment failed, and what its owner can do.

    Attributes:
        reason: a sentence.
        advice: what to do now.
        specific: whether the event's own `failure_reason` may be shown too. It may not be where banks hide
            what they know: https://docs.stripe.com/declines/codes asks not to tell that a card was
            reported lost or stolen, or that a charge looked fraudulent.
    """

    reason: str
    advice: str
    specific: bool = False


_DECLINED = Failure(
    "Your bank declined the payment. Banks do not tell us why.",
    "Pay with another card or payment method, or ask your bank about it and try again.",
)

#: error_code → what the mail says. Every other code is told as a plain decline.
FAILURES: dict[str, Failure] = {
    "CARD_DECLINED": _DECLINED,
    "INSUFFICIENT_FUNDS": Failure(
        "There was not enough money available on the card or account.",
        "Pay with another card or payment method, or make sure that the amount is available and try again.",
        specific=True,
    ),
    "CARD_EXPIRED": Failure(
        "The card has expired.",
        "Pay with a card that is still valid. If your bank sent you a new one, use its number and date.",
        specific=True,
    ),
    "INVALID_CARD": Failure(
        "Something in the card details was not right.",
        "Check the card number, the expiry date and the security code, then try again.",
        specific=True,
    ),
    "INVALID_AMOUNT": Failure(
        "The amount can't be charged in that currency.",
        "There is nothing wrong with your card. Please start the booking again, or write to us.",
    ),
    "PAYMENT_GATEWAY_ERROR": Failure(
        "Our payment provider could not be reached.",
        "There is nothing wrong with your card. Please try again in a few minutes.",
    ),
}


def failure_for(error_code: str) -> Failure:
    """The row for `error_code`."""
    return FAILURES.get(error_code, _DECLINED)


#: What a decline must not tell its reader, whatever code it came with.
TELLTALE = re.compile(r"lost|stolen|fraud|pick.?up|suspect|security.violation|restricted|black.?list", re.I)

PAYMENT_METHODS = {
    "credit_card": "Credit card",
    "debit_card": "Debit card",
    "paypal": "PayPal",
    "stripe": "Stripe",
}

CARD_BRANDS = {
    "visa": "Visa",
    "mastercard": "Mastercard",
    "amex": "American Express",
    "discover": "Discover",
    "diners": "Diners Club",
    "jcb": "JCB",
    "unionpay": "UnionPay",
}
