"""Names of the events' codes in mails, one table for each kind of code."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app import declines
from app.languages import ENGLISH, Language


@dataclass(frozen=True)
class Failure:
    """Why a payment failed, and what the customer can do.

    Attributes:
        reason: a sentence.
        advice: what to do now.
        specific: whether the event's `failure_reason` may be shown too. Not for reasons that banks hide:
            https://docs.stripe.com/declines/codes asks not to tell that a card was
            reported lost or stolen, or that a charge looked fraudulent.
        detail: the event's reason, if it is shown.
    """

    reason: str
    advice: str
    specific: bool = False
    detail: str = ""


_DECLINED = Failure(
    "Your bank declined the payment. Banks do not tell us why.",
    "Pay with another card or payment method, or ask your bank about it and try again.",
)

#: error_code → message of the mail. Every other code is shown as a generic decline.
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
        "Some of the card details are incorrect.",
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


#: retry_advice → advice that replaces the code's own; see `app.declines`.
ADVICE = {
    "never": "Pay with another card or payment method, or ask your bank about it.",
    "later": "Try again in a little while, or pay with another card or payment method.",
    "other_card": "Pay with another card or payment method.",
    "check_details": "Check the card number, the expiry date and the security code, then try again.",
}

#: All but the first sentence. Japanese has no space between sentences.
_LATER_SENTENCES = re.compile(r"(?<=\.) .*|(?<=\u3002).+")

#: Reasons from our own payment service, which are safe to show and translated.
_OUR_REASONS = frozenset(decline.message for decline in declines.EVERY)


def failure_of(language: Language, error_code: str, failure_reason: str, retry_advice: str) -> Failure:
    """Return the reason and advice for a failed payment, in one language.

    Args:
        language: language of the text.
        error_code: the event's error code.
        failure_reason: the event's failure_reason, if it may be shown.
        retry_advice: the sender's advice, if any.
    """
    row = FAILURES.get(error_code, _DECLINED)
    is_ours = bool(failure_reason) and failure_reason in _OUR_REASONS
    return Failure(
        # The rest of our own reason is replaced by the advice.
        reason=_LATER_SENTENCES.sub("", language.gettext(failure_reason))
        if is_ours
        else language.gettext(row.reason),
        advice=language.gettext((retry_advice and ADVICE.get(retry_advice)) or row.advice),
        # A foreign reason has no translation, so it is omitted to keep the mail in one language.
        detail=failure_reason
        if failure_reason and row.specific and not is_ours and language is ENGLISH
        else "",
    )


#: Reasons that must not be shown to the customer, whatever the code.
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
