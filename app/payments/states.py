"""The states of a payment and the legal moves between them, as data."""

from __future__ import annotations

PENDING = "pending"
REQUIRES_ACTION = "requires_action"
COMPLETED = "completed"
FAILED = "failed"
PARTIALLY_REFUNDED = "partially_refunded"
REFUNDED = "refunded"

#: State → the states that may follow. Every other move is refused.
MOVES: dict[str, frozenset[str]] = {
    PENDING: frozenset({REQUIRES_ACTION, COMPLETED, FAILED}),
    REQUIRES_ACTION: frozenset({COMPLETED, FAILED}),
    COMPLETED: frozenset({PARTIALLY_REFUNDED, REFUNDED}),
    PARTIALLY_REFUNDED: frozenset({PARTIALLY_REFUNDED, REFUNDED, COMPLETED}),
    REFUNDED: frozenset({PARTIALLY_REFUNDED, COMPLETED}),
    # Only where the gateway charged after all, and the money goes back.
    FAILED: frozenset({PARTIALLY_REFUNDED, REFUNDED}),
}

#: States in which the booking is taken: no other payment for it may start.
OPEN = frozenset({PENDING, REQUIRES_ACTION, COMPLETED, PARTIALLY_REFUNDED})

#: States in which only the gateway knows what will become of the payment.
UNSETTLED = frozenset({PENDING, REQUIRES_ACTION})

#: States that answer the customer: the payment has been processed.
FINAL = frozenset({COMPLETED, FAILED})

#: States from which money can be given back.
REFUNDABLE = frozenset({COMPLETED, PARTIALLY_REFUNDED})

#: State entered → event announced.
EMITS: dict[str, str] = {COMPLETED: "payment.success", FAILED: "payment.failed"}
