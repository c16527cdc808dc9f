"""What can go wrong for a caller, as one small tree. The API makes each the contract's error envelope."""

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
    """The API key does not reach that far."""

    code = "FORBIDDEN"


class InvalidAmount(Problem):
    """The amount can't be charged in that currency."""

    code = "INVALID_AMOUNT"


class InvalidCard(Problem):
    """The card's number or CVV can't be right."""

    code = "INVALID_CARD"


class CardExpired(Problem):
    """The card's expiry month has passed."""

    code = "CARD_EXPIRED"


class DuplicateTransaction(Problem):
    """The booking already has a payment that is open or completed."""

    code = "DUPLICATE_TRANSACTION"
    transient = True


class RefundNotAllowed(Problem):
    """The payment can't be refunded like this."""

    code = "REFUND_NOT_ALLOWED"


class MalformedRequest(Problem):
    """The request is not HTTP as its framing says; its body was not read to the end."""

    code = "MALFORMED_REQUEST"


class InvalidWebhook(Problem):
    """A webhook delivery that is not the gateway's. Answered 400, as Stripe asks for."""

    code = "INVALID_SIGNATURE"


class TransactionNotFound(Problem):
    """No transaction has that id."""

    code = "TRANSACTION_NOT_FOUND"


class RateLimited(Problem):
    """Too many failed requests came from this address.

    Args:
        retry_after: seconds after which another is looked at.
    """

    code = "RATE_LIMITED"

    def __init__(self, retry_after: int) -> None:
        super().__init__("Too many failed requests. Please wait and try again.", retry_after=retry_after)


class IdempotencyConflict(Problem):
    """The first request with that Idempotency-Key is still running."""

    code = "IDEMPOTENCY_CONFLICT"
    transient = True


class IdempotencyKeyReused(Problem):
    """The Idempotency-Key came before with another body."""

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
    """The gateway refused to work for us; surely nothing was charged."""

    code = "PAYMENT_GATEWAY_ERROR"
    transient = True


class ServiceUnavailable(Problem):
    """The request could not be recorded, so nothing was tried."""

    code = "SERVICE_UNAVAILABLE"
    transient = True


class Unacknowledged(ServiceUnavailable):
    """A write may have been carried out or not: the database did not say."""


class CancelNotAllowed(Problem):
    """The payment can't be canceled in its present state."""

    code = "PAYMENT_NOT_CANCELABLE"
    transient = True
