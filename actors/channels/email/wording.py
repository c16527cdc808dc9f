"""Codes of the events in the words of the mails: one table for each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from actors.channels.email.languages import ENGLISH, Language
from app import declines


@dataclass(frozen=True)
class Failure:
    """Why a payment failed, and what its owner can do.

    Attributes:
        reason: a sentence.
        advice: what to do now.
        specific: whether the event's own `failure_reason` may be shown too. It may not be where banks hide
            what they know: https://docs.stripe.com/declines/codes asks not to tell that a card was
            reported lost or stolen, or that a charge looked fraudulent.
        detail: that reason, where it is shown.
    """

    reason: str
    advice: str
    specific: bool = False
    detail: str = ""


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
    "CUSTOMER_CANCELED": Failure(
        "The payment was canceled before it was completed. Nothing was charged.",
        "Try again in a little while, or pay with another card or payment method.",
    ),
    "PAYMENT_GATEWAY_ERROR": Failure(
        "Our payment provider could not be reached.",
        "There is nothing wrong with your card. Please try again in a few minutes.",
    ),
}


#: retry_advice → what to do, in place of what the code alone would say; see `app.declines`.
ADVICE = {
    "never": "Pay with another card or payment method, or ask your bank about it.",
    "later": "Try again in a little while, or pay with another card or payment method.",
    "other_card": "Pay with another card or payment method.",
    "check_details": "Check the card number, the expiry date and the security code, then try again.",
}

#: What our own payment service gives as reasons: safe to show, and known to the catalogues.
_OUR_REASONS = frozenset(decline.message for decline in declines.EVERY)


def failure_of(language: Language, error_code: str, told: str, retry_advice: str) -> Failure:
    """Why a payment failed and what now, in one language.

    Args:
        language: of the answer.
        error_code: the event's; so is the rest.
        told: its failure_reason, where there is one that may be shown.
        retry_advice: what can help, where the sender says.
    """
    row = FAILURES.get(error_code, _DECLINED)
    ours = bool(told) and told in _OUR_REASONS
    return Failure(
        reason=language.gettext(told if ours else row.reason),
        advice=language.gettext((retry_advice and ADVICE.get(retry_advice)) or row.advice),
        # A stranger's words have no translation, and are worth less than a mail in one language.
        detail=told if told and row.specific and not ours and language is ENGLISH else "",
    )


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
