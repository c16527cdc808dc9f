"""Statuses of payments and refunds, and the allowed transitions."""

from __future__ import annotations

from enum import StrEnum


class PaymentStatus(StrEnum):
    """Status of a payment. The values are part of the API."""

    PENDING = "pending"
    REQUIRES_ACTION = "requires_action"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class RefundStatus(StrEnum):
    """Status of a refund."""

    PENDING = "pending"
    COMPLETED = "completed"
    FAILED = "failed"


class Actor(StrEnum):
    """Who changed a record."""

    API = "api"
    WEBHOOK = "webhook"
    RECOVERY = "recovery"
    OPERATOR = "operator"


_P = PaymentStatus

#: Status → the statuses that may follow. Every other transition is refused.
MOVES: dict[PaymentStatus, frozenset[PaymentStatus]] = {
    _P.PENDING: frozenset({_P.REQUIRES_ACTION, _P.COMPLETED, _P.FAILED, _P.CANCELED}),
    _P.REQUIRES_ACTION: frozenset({_P.COMPLETED, _P.FAILED, _P.CANCELED}),
    _P.COMPLETED: frozenset({_P.PARTIALLY_REFUNDED, _P.REFUNDED}),
    _P.PARTIALLY_REFUNDED: frozenset({_P.PARTIALLY_REFUNDED, _P.REFUNDED, _P.COMPLETED}),
    _P.REFUNDED: frozenset({_P.PARTIALLY_REFUNDED, _P.COMPLETED}),
    # Only after the refund of a stray charge.
    _P.FAILED: frozenset({_P.PARTIALLY_REFUNDED, _P.REFUNDED}),
    _P.CANCELED: frozenset({_P.PARTIALLY_REFUNDED, _P.REFUNDED}),
}

#: Statuses in which the booking is taken: no other payment for it may start.
OPEN = frozenset({_P.PENDING, _P.REQUIRES_ACTION, _P.COMPLETED, _P.PARTIALLY_REFUNDED})

#: Statuses in which only the gateway knows the outcome.
UNSETTLED = frozenset({_P.PENDING, _P.REQUIRES_ACTION})

#: Statuses that end the customer's attempt to pay.
FINAL = frozenset({_P.COMPLETED, _P.FAILED, _P.CANCELED})

#: Statuses in which nothing may have been charged.
UNPAID = frozenset({_P.FAILED, _P.CANCELED})

#: Statuses in which the gateway must have charged.
PAID = frozenset({_P.COMPLETED, _P.PARTIALLY_REFUNDED, _P.REFUNDED})

#: Statuses from which money can be refunded.
REFUNDABLE = frozenset({_P.COMPLETED, _P.PARTIALLY_REFUNDED})

#: Status entered → event published.
EMITS: dict[PaymentStatus, str] = {
    _P.COMPLETED: "payment.success",
    _P.FAILED: "payment.failed",
    _P.CANCELED: "payment.canceled",
}

#: Statuses of a dispute that is over: https://docs.stripe.com/api/disputes/object#dispute_object-status
DISPUTE_CLOSED = frozenset({"won", "lost", "warning_closed", "prevented"})

#: Statuses of a dispute in which the money is withdrawn, temporarily or permanently.
DISPUTE_HOLDS_MONEY = frozenset({"needs_response", "under_review", "lost"})
