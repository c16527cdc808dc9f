"""Why a payment failed, in our words: one table for the API's answer, the event and the mail.

Sources: https://docs.stripe.com/declines/codes and https://docs.stripe.com/error-codes. Stripe asks not to
tell customers that a card was reported lost or stolen or that a charge looked fraudulent: those codes have no
row of their own and say no more than a plain decline does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What can help: nothing, waiting, another card or way to pay, or correcting what was typed.
Retry = Literal["never", "later", "other_card", "check_details"]


@dataclass(frozen=True)
class Decline:
    """A failed payment as others see it.

    Attributes:
        code: the contract's error code.
        message: a sentence or two for the customer; also the key of its translation.
        retry: what can help.
    """

    code: str
    message: str
    retry: Retry


GENERIC = Decline("CARD_DECLINED", "Your card was declined. Please use another card.", "other_card")
LATER = Decline(
    "CARD_DECLINED", "Your card was declined. Please try again later or use another card.", "later"
)
FUNDS = Decline(
    "INSUFFICIENT_FUNDS", "Your card has insufficient funds. Please use another card.", "other_card"
)
LIMIT = Decline(
    "INSUFFICIENT_FUNDS",
    "Your card has reached its limit. Please try again later or use another card.",
    "later",
)
EXPIRED = Decline("CARD_EXPIRED", "Your card has expired. Please use another card.", "other_card")
NUMBER = Decline("INVALID_CARD", "The card number is not right. Please check it.", "check_details")
CVC = Decline("INVALID_CARD", "The card's security code is not right. Please check it.", "check_details")
EXPIRY = Decline("INVALID_CARD", "The card's expiry date is not right. Please check it.", "check_details")
DETAILS = Decline("INVALID_CARD", "The card's details are not right. Please check them.", "check_details")
PROCESSING = Decline(
    "CARD_DECLINED", "Your bank could not process the card just now. Please try again in a moment.", "later"
)
AUTHENTICATION = Decline(
    "CARD_DECLINED",
    "Your bank could not confirm that it is you. Please try again or use another card.",
    "later",
)
UNSUPPORTED = Decline(
    "CARD_DECLINED", "Your card can't make this payment. Please use another card.", "other_card"
)
STOPPED = Decline(
    "CARD_DECLINED", "Your bank has been told not to allow this payment. Please contact your bank.", "never"
)

#: Failures that are no bank's.
NOT_CONFIRMED = Decline(
    "CARD_DECLINED", "The payment was not confirmed in time. Nothing was charged; please try again.", "later"
)
GATEWAY_ERROR = Decline(
    "PAYMENT_GATEWAY_ERROR",
    "The payment could not be made. Nothing was charged; please try again soon.",
    "later",
)
BAD_AMOUNT = Decline(
    "INVALID_AMOUNT", "This amount can't be charged. Nothing was charged; please contact us.", "never"
)

#: Stripe's decline code or, where a refusal has none, its error code. Every other is told as a plain decline.
_TABLE: dict[str, Decline] = {
    "insufficient_funds": FUNDS,
    "withdrawal_count_limit_exceeded": LIMIT,
    "card_velocity_exceeded": LIMIT,
    "expired_card": EXPIRED,
    "incorrect_number": NUMBER,
    "invalid_number": NUMBER,
    "incorrect_cvc": CVC,
    "invalid_cvc": CVC,
    "invalid_expiry_month": EXPIRY,
    "invalid_expiry_year": EXPIRY,
    "incorrect_address": DETAILS,
    "incorrect_zip": DETAILS,
    "processing_error": PROCESSING,
    "issuer_not_available": PROCESSING,
    "reenter_transaction": PROCESSING,
    "try_again_later": PROCESSING,
    "approve_with_id": PROCESSING,
    "no_action_taken": LATER,
    "authentication_required": AUTHENTICATION,
    "authentication_not_handled": AUTHENTICATION,
    "mobile_device_authentication_required": AUTHENTICATION,
    "payment_intent_authentication_failure": AUTHENTICATION,
    "card_not_supported": UNSUPPORTED,
    "currency_not_supported": UNSUPPORTED,
    "invalid_account": UNSUPPORTED,
    "new_account_information_available": UNSUPPORTED,
    "not_permitted": UNSUPPORTED,
    "service_not_allowed": UNSUPPORTED,
    "transaction_not_allowed": UNSUPPORTED,
    "revocation_of_all_authorizations": STOPPED,
    "revocation_of_authorization": STOPPED,
    "stop_payment_order": STOPPED,
}

#: Stripe's advice for refusals that name no reason: https://docs.stripe.com/declines/codes#retrying-issuer-declines
_ADVICE: dict[str, Decline] = {
    "try_again_later": LATER,
    "confirm_card_data": DETAILS,
    "do_not_try_again": GENERIC,
}

#: Codes of refusals whose reason the customer is not told: whatever the advice, they look like any other.
_SILENT = frozenset(
    {"lost_card", "stolen_card", "pickup_card", "fraudulent", "merchant_blacklist", "security_violation"}
)


#: Every row that a payment can fail with.
EVERY = frozenset({*_TABLE.values(), *_ADVICE.values(), NOT_CONFIRMED, GATEWAY_ERROR, BAD_AMOUNT})


def decline_for(decline_code: str | None, code: str | None, advice_code: str | None = None) -> Decline:
    """The row for Stripe's `decline_code`, else `code`, else `advice_code`, else the plain decline."""
    for known in (decline_code, code):
        if known in _TABLE:
            return _TABLE[known]
    if decline_code in _SILENT:
        return GENERIC
    return _ADVICE.get(advice_code or "", GENERIC)
