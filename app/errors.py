"""Exceptions for expected failures. The API turns each into an error response."""

from __future__ import annotations

from typing import Any, ClassVar


class Problem(Exception):
    """An expected failure with a stable code.

    Args:
        message: one sentence for the caller: what is wrong and what to do. Never internals, never card data.
        details: further fields for a program to read.
    """

    code: ClassVar[str] = "INTERNAL_ERROR"

    #: Whether the same request may succeed later: never stored as the final response of an Idempotency-Key.
    transient: ClassVar[bool] = False

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.details = details


class InvalidRequest(Problem):
    """The request can't be understood or breaks a rule of the schema."""

    code = "VALIDATION_ERROR"


class Unauthorized(Problem):
    """No API key, or not a valid one."""

    code = "UNAUTHORIZED"


class Forbidden(Problem):
    """The API key lacks the scope."""

    code = "FORBIDDEN"


class InvalidAmount(Problem):
    """The amount can't be charged in that currency."""

    code = "INVALID_AMOUNT"


class InvalidCard(Problem):
    """The card's number or CVV is invalid."""

    code = "INVALID_CARD"


class CardExpired(Problem):
    """The card's expiry month has passed."""

    code = "CARD_EXPIRED"


class DuplicateTransaction(Problem):
    """The booking already has a payment that is open or completed."""

    code = "DUPLICATE_TRANSACTION"
    transient = True


class RefundNotAllowed(Problem):
    """The payment can't be refunded as requested."""

    code = "REFUND_NOT_ALLOWED"


class MalformedRequest(Problem):
    """The request's HTTP framing is malformed. Its body was not read to the end."""

    code = "MALFORMED_REQUEST"


class InvalidWebhook(Problem):
    """A webhook delivery that is not the gateway's. Returns 400, as Stripe requires."""

    code = "INVALID_SIGNATURE"


class TransactionNotFound(Problem):
    """No transaction has that id."""

    code = "TRANSACTION_NOT_FOUND"


class RateLimited(Problem):
    """Too many failed requests came from this address.

    Args:
        retry_after: seconds until the next request is accepted.
    """

    code = "RATE_LIMITED"

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many failed requests. Please wait and try again.", retry_after=retry_after)


class IdempotencyConflict(Problem):
    """The first request with that Idempotency-Key is still running."""

    code = "IDEMPOTENCY_CONFLICT"
    transient = True


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key was used with another body."""

    code = "IDEMPOTENCY_KEY_REUSED"


class TooManyAttempts(Problem):
    """Too many attempts to pay were declined.

    Args:
        retry_after: seconds until the next attempt is allowed.
    """

    code = "TOO_MANY_ATTEMPTS"
    transient = True

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many payment attempts. Please try again later.", retry_after=retry_after)


class GatewayError(Problem):
    """The gateway refused the request. Nothing was charged."""

    code = "PAYMENT_GATEWAY_ERROR"
    transient = True


class ServiceUnavailable(Problem):
    """A server is unavailable. Nothing was attempted."""

    code = "SERVICE_UNAVAILABLE"
    transient = True


def unavailable(server: str, error: Exception) -> ServiceUnavailable:
    """Return the error for a failed call to a server.

    Args:
        server: name of the server, for people.
        error: the failure. Only its type is shown, because its text may contain credentials.
    """
    return ServiceUnavailable(f"{server} is unavailable ({type(error).__name__}).")


class Unacknowledged(ServiceUnavailable):
    """The outcome of a database write is unknown."""


class CancelNotAllowed(Problem):
    """The payment can't be canceled in its present state."""

    code = "PAYMENT_NOT_CANCELABLE"
    transient = True
