"""Stripe's refusals in our words: one table for the API's answer, the event and the mail.

Sources: https://docs.stripe.com/declines/codes and https://docs.stripe.com/error-codes. Stripe asks not to
tell customers that a card was reported lost or stolen or that a charge looked fraudulent: those rows say no
more than a plain decline does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Decline:
    """A refusal as others see it.

    Attributes:
        code: the contract's error code.
        message: a sentence for the customer.
        retry_possible: whether trying again, now or with another card, can help.
    """

    code: str
    message: str
    retry_possible: bool


_GENERIC = Decline("CARD_DECLINED", "Your card was declined. Please use another card.", True)
_FUNDS = Decline("INSUFFICIENT_FUNDS", "Your card has insufficient funds. Please use another card.", True)
_EXPIRED = Decline("CARD_EXPIRED", "Your card has expired. Please use another card.", True)
_NUMBER = Decline("INVALID_CARD", "The card number is not right. Please check it.", True)
_CVV = Decline("INVALID_CARD", "The card's security code is not right. Please check it.", True)
_EXPIRY = Decline("INVALID_CARD", "The card's expiry date is not right. Please check it.", True)
_PROCESSING = Decline(
    "CARD_DECLINED", "Your bank could not process the card just now. Please try again in a moment.", True
)
_AUTHENTICATION = Decline(
    "CARD_DECLINED", "Your bank could not confirm that it is you. Please try again or use another card.", True
)
_FINAL = Decline(
    "CARD_DECLINED", "Your card was declined. Please contact your bank or use another card.", False
)

_TABLE: dict[str, Decline] = {
    "insufficient_funds": _FUNDS,
    "withdrawal_count_limit_exceeded": _FUNDS,
    "card_velocity_exceeded": _FUNDS,
    "expired_card": _EXPIRED,
    "incorrect_number": _NUMBER,
    "invalid_number": _NUMBER,
    "incorrect_cvc": _CVV,
    "invalid_cvc": _CVV,
    "invalid_expiry_month": _EXPIRY,
    "invalid_expiry_year": _EXPIRY,
    "processing_error": _PROCESSING,
    "issuer_not_available": _PROCESSING,
    "reenter_transaction": _PROCESSING,
    "try_again_later": _PROCESSING,
    "approve_with_id": _PROCESSING,
    "authentication_required": _AUTHENTICATION,
    "payment_intent_authentication_failure": _AUTHENTICATION,
    "invalid_account": _FINAL,
    "new_account_information_available": _FINAL,
    "restricted_card": _FINAL,
    "card_not_supported": _FINAL,
    "currency_not_supported": _FINAL,
    "revocation_of_all_authorizations": _FINAL,
    "stop_payment_order": _FINAL,
}


def decline_for(decline_code: str | None, code: str | None) -> Decline:
    """The row for Stripe's `decline_code`, else its `code`, else the plain decline."""
    return _TABLE.get(decline_code or "") or _TABLE.get(code or "") or _GENERIC
