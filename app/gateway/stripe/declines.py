"""Stripe's codes for failed payments, as rows of `app.declines`.

Sources: https://docs.stripe.com/declines/codes and https://docs.stripe.com/error-codes. Stripe asks not to
tell customers that a card was reported lost or stolen or that a charge looked fraudulent: those codes map to
the generic decline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.declines import (
    AUTHENTICATION,
    CUSTOMER_CANCELED,
    CVC,
    DETAILS,
    EXPIRED,
    EXPIRY,
    FUNDS,
    GENERIC,
    LATER,
    LIMIT,
    NOT_CONFIRMED,
    NUMBER,
    PROCESSING,
    PROVIDER,
    STOPPED,
    UNSUPPORTED,
    Decline,
)

#: Stripe's decline code or, where an error has none, its error code. Every other code is a generic decline.
_BY_CODE: dict[str, Decline] = {
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
    # Other methods: the provider declined, or the customer left its page or let it expire.
    "payment_method_provider_decline": PROVIDER,
    "payment_method_provider_timeout": PROVIDER,
    "payment_method_not_available": PROVIDER,
    "payment_method_customer_decline": CUSTOMER_CANCELED,
    "payment_intent_payment_attempt_expired": NOT_CONFIRMED,
}

#: Stripe's advice for declines without a reason:
#: https://docs.stripe.com/declines/codes#retrying-issuer-declines
_BY_ADVICE: dict[str, Decline] = {
    "try_again_later": LATER,
    "confirm_card_data": DETAILS,
    "do_not_try_again": GENERIC,
}

#: Decline codes whose reason is not shown to the customer: they look like any other, whatever the advice.
_SILENT = frozenset(
    {"lost_card", "stolen_card", "pickup_card", "fraudulent", "merchant_blacklist", "security_violation"}
)


def decline_for(error: Mapping[str, Any]) -> Decline:
    """Return the row for an error of Stripe: by its decline code, else its code, else its advice."""
    decline_code = error.get("decline_code")
    for code in (decline_code, error.get("code")):
        if code in _BY_CODE:
            return _BY_CODE[code]
    if decline_code in _SILENT:
        return GENERIC
    return _BY_ADVICE.get(error.get("advice_code") or "", GENERIC)
