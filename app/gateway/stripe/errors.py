"""What an error of Stripe's API says about the request: carried out, surely not, or unknown.

Sources: https://docs.stripe.com/error-low-level, https://docs.stripe.com/api/errors and
https://docs.stripe.com/rate-limits. Once Stripe has begun to execute a request, it stores the result under
the idempotency key, whatever it is, and replays it for 24 hours: a repeated 500 says no more than the first.
Rate limits, rejected keys and lock timeouts come before execution and are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import stripe

from app.gateway.outcomes import Declined, Refused, Unknown
from app.gateway.stripe.reading import declined

#: Codes of errors about the amount, which the caller can correct.
_AMOUNT_CODES = frozenset({"amount_too_small", "amount_too_large", "invalid_charge_amount"})

#: The object was in use by another request. Nothing was executed. https://docs.stripe.com/rate-limits
_LOCK_TIMEOUT = "lock_timeout"


class NeverReached(stripe.APIConnectionError):
    """No connection to Stripe came about: the request was not sent."""


#: Errors that come before a request is executed, and say nothing about it.
_BEFORE_EXECUTION = (
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
    NeverReached,
)

#: Errors that are the result of the request, at whichever try.
_RESULTS = (stripe.CardError, stripe.InvalidRequestError)


def details(error: stripe.StripeError) -> Mapping[str, Any]:
    """Return the `error` object of the response; empty without one."""
    body = error.json_body
    found = body.get("error") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def reason(error: stripe.StripeError) -> str:
    """Describe an error in a few words that hold no data of the request."""
    return f"{type(error).__name__} {error.http_status or ''} {details(error).get('code') or ''}".strip()


def is_rate_limit(error: stripe.StripeError) -> bool:
    """Whether there were too many requests, or another one held the object: worth another try soon."""
    return isinstance(error, stripe.RateLimitError) or details(error).get("code") == _LOCK_TIMEOUT


def is_transient(error: stripe.StripeError) -> bool:
    """Whether the request was surely not executed, for a reason that may pass."""
    return is_rate_limit(error) or isinstance(error, _BEFORE_EXECUTION)


def is_result(error: stripe.StripeError) -> bool:
    """Whether the error is the result of the request, even if an earlier try with its key was executed."""
    # Stripe replays the result of an executed request, so an invalid one was never executed with this key.
    return isinstance(error, _RESULTS) and not is_transient(error)


def may_have_arrived(error: stripe.StripeError) -> bool:
    """Whether the request may have been executed, or may yet be."""
    return not is_result(error) and not is_transient(error)


def is_replayed(error: stripe.StripeError) -> bool:
    """Whether the error is the stored result of an earlier request with the same key and parameters."""
    return (error.headers or {}).get("idempotent-replayed") == "true"


def charge_failure(error: stripe.StripeError) -> Declined | Refused | Unknown:
    """Read the error of a charge."""
    if isinstance(error, stripe.CardError):
        return declined(details(error))
    return _failure(error)


def refund_failure(error: stripe.StripeError) -> Refused | Unknown:
    """Read the error of a refund."""
    return Refused(reason(error)) if isinstance(error, stripe.CardError) else _failure(error)


def _failure(error: stripe.StripeError) -> Refused | Unknown:
    if may_have_arrived(error):
        intent = details(error).get("payment_intent")
        return Unknown(reason(error), intent.get("id") if isinstance(intent, dict) else None)
    bad_amount = details(error).get("code") in _AMOUNT_CODES
    return Refused(reason(error), transient=is_transient(error), bad_amount=bad_amount)
