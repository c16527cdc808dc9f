"""Stripe's error responses: https://docs.stripe.com/api/errors"""

from __future__ import annotations

from typing import Any, NoReturn

_DOC_URL = "https://docs.stripe.com/error-codes#"


class StripeError(Exception):
    """An error response. Nothing was executed, and idempotency stores nothing.

    Args:
        status: the HTTP status.
        message: for developers; for declines, for the customer.
        kind: Stripe's `type`.
        fields: further members, such as code, param, or payment_intent.
    """

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", **fields: Any
    ) -> None:
        super().__init__(message)
        self.status = status
        error = {"type": kind, "message": message, **fields}
        if "code" in error:
            error["doc_url"] = _DOC_URL + str(error["code"]).replace("_", "-")
        self.body = {"error": error}


class ExecutionError(StripeError):
    """An error after execution started, such as a decline. Its writes are kept, and idempotency stores it."""


class Dropped(Exception):
    """Close the connection without a response."""


def no_such(kind: str, record_id: str, param: str = "id") -> StripeError:
    """Return the error for an object that does not exist."""
    status = 404 if param == "id" else 400
    return StripeError(status, f"No such {kind}: '{record_id}'", code="resource_missing", param=param)


def unexpected_state(intent: dict[str, Any], verb: str) -> NoReturn:
    """Raise the error for an operation that a PaymentIntent's status does not allow."""
    raise ExecutionError(
        400,
        f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )
