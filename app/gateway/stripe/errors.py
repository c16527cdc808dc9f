"""Classify errors of Stripe's API: carried out, certainly not carried out, or unknown.

Sources: https://docs.stripe.com/error-low-level, https://docs.stripe.com/api/errors and
https://docs.stripe.com/rate-limits. Once Stripe starts to execute a request, it stores any result under the
idempotency key and replays it for 24 hours, so a repeated 500 adds no information.
Rate limits, rejected keys and lock timeouts come before execution and are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import stripe

from app.declines import DETAILS
from app.gateway.outcomes import Declined, Refused, Unknown
from app.gateway.stripe.reading import declined

#: Codes of errors about the amount, which the caller can correct.
_AMOUNT_CODES = frozenset({"amount_too_small", "amount_too_large", "invalid_charge_amount"})

_AMOUNT_PARAMS = frozenset({"amount", "currency"})

#: The object was in use by another request. Nothing was executed. https://docs.stripe.com/rate-limits
_LOCK_TIMEOUT = "lock_timeout"


class NeverReached(stripe.APIConnectionError):
    """No connection to Stripe was made, so the request was not sent."""


#: Errors that occur before a request is executed, so its outcome stays open.
_BEFORE_EXECUTION = (
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
    NeverReached,
)

#: Errors that are the result of the request, in any attempt.
_RESULTS = (stripe.CardError, stripe.InvalidRequestError)


def details(error: stripe.StripeError) -> Mapping[str, Any]:
    """Return the `error` object of the response; empty without one."""
    body = error.json_body
    found = body.get("error") if isinstance(body, dict) else None
    return found if isinstance(found, dict) else {}


def reason(error: stripe.StripeError) -> str:
    """Describe an error without data of the request."""
    return f"{type(error).__name__} {error.http_status or ''} {details(error).get('code') or ''}".strip()


def is_rate_limit(error: stripe.StripeError) -> bool:
    """Return whether the request was rate limited or the object was locked. A retry may succeed soon."""
    return isinstance(error, stripe.RateLimitError) or details(error).get("code") == _LOCK_TIMEOUT


def is_transient(error: stripe.StripeError) -> bool:
    """Return whether the request was certainly not executed, for a temporary reason."""
    return is_rate_limit(error) or isinstance(error, _BEFORE_EXECUTION)


def is_result(error: stripe.StripeError) -> bool:
    """Return whether the error is the result of the request, even if an earlier try with its key was
    executed."""
    # Stripe replays the result of an executed request, so an invalid one was never executed with this key.
    return isinstance(error, _RESULTS) and not is_transient(error)


def may_have_arrived(error: stripe.StripeError) -> bool:
    """Return whether the request was or may yet be executed."""
    return not is_result(error) and not is_transient(error)


def is_replayed(error: stripe.StripeError) -> bool:
    """Return whether the error is the stored result of an earlier request with the same key and
    parameters."""
    return (error.headers or {}).get("idempotent-replayed") == "true"


def refuses_amount(error: stripe.InvalidRequestError) -> bool:
    """Return whether Stripe refused the amount or the currency of a request."""
    found = details(error)
    return found.get("code") in _AMOUNT_CODES or found.get("param") in _AMOUNT_PARAMS


def charge_failure(error: stripe.StripeError) -> Declined | Refused | Unknown:
    """Return the outcome of a charge that raised an error."""
    if isinstance(error, stripe.CardError):
        return declined(details(error))
    if _names_no_payment_method(error):
        return Declined(DETAILS)
    return _failure(error)


def refund_failure(error: stripe.StripeError) -> Refused | Unknown:
    """Return the outcome of a refund that raised an error."""
    return Refused(reason(error)) if isinstance(error, stripe.CardError) else _failure(error)


def _names_no_payment_method(error: stripe.StripeError) -> bool:
    """Return whether Stripe does not know the `pm_...`. As after a decline, the customer can enter
    another."""
    found = details(error)
    return (found.get("code"), found.get("param")) == ("resource_missing", "payment_method")


def _failure(error: stripe.StripeError) -> Refused | Unknown:
    if may_have_arrived(error):
        intent = details(error).get("payment_intent")
        return Unknown(reason(error), intent.get("id") if isinstance(intent, dict) else None)
    bad_amount = details(error).get("code") in _AMOUNT_CODES
    return Refused(reason(error), transient=is_transient(error), bad_amount=bad_amount)
