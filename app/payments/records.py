"""Payments and their parts as plain values, independent of the store.

`app.models.Transaction` describes the same fields for MongoDB. A test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from app.payments.states import DISPUTE_CLOSED, DISPUTE_HOLDS_MONEY, RefundStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.payments.states import Actor, PaymentStatus

_ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Step:
    """One entry of the audit trail."""

    at: datetime
    status: str
    actor: Actor
    gateway_id: str | None = None
    request_id: str | None = None
    event_id: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An event that was stored with a change, and waits to be published.

    Attributes:
        body: the event as JSON. Every attempt publishes the same bytes.
        traceparent: the trace that caused it.
    """

    event_id: str
    event_type: str
    body: str
    created_at: datetime
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    """A partial or full refund. Its id (`REF-…`) is also the gateway's idempotency key.

    Attributes:
        resumed: whether a second attempt of the same request has started or may start. A transient refusal of
            one attempt then leaves the refund pending.
    """

    id: str
    status: RefundStatus
    amount: Decimal
    reason: str
    created_at: datetime
    gateway_id: str | None = None
    error_message: str | None = None
    processed_at: datetime | None = None
    resumed: bool | None = None

    @property
    def pending(self) -> bool:
        """Return whether the outcome is unknown."""
        return self.status == RefundStatus.PENDING


@dataclass(frozen=True, slots=True)
class Dispute:
    """A charge that the cardholder's bank disputes.

    Attributes:
        at: time of the gateway's report.
    """

    id: str
    status: str
    at: datetime
    reason: str | None = None
    amount: Decimal | None = None
    evidence_due_by: datetime | None = None

    @property
    def closed(self) -> bool:
        """Return whether the payment has reached a final status."""
        return self.status in DISPUTE_CLOSED

    @property
    def holds_money(self) -> bool:
        """Return whether the bank holds or has taken back the money."""
        return self.status in DISPUTE_HOLDS_MONEY


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment (`TXN-…`). Its id is also the gateway's idempotency key.

    Attributes:
        revision: incremented by every change, for optimistic locking.
        amount: in major units of `currency`.
        contact: user_email, user_phone, user_name and locale, as far as known; goes into the events.
        gateway_method: the gateway's id of the payment method; None if the customer chooses at the gateway.
        attempted_at: time of the last charge request.
        recover_after: when to look up the outcome at the gateway; None once it is known.
        stray_charge: the gateway's id of a charge made after the payment had ended unpaid.
        fraud_warning: the type of fraud that the card network suspects; a dispute is likely to follow.
        refund_reserved: sum of the refunds that are pending or completed: never more than `amount`.
        amount_refunded: sum of the refunds that are completed.
        retry_advice: advice after a failure; see `app.declines`.
    """

    id: str
    status: PaymentStatus
    booking_id: str
    user_id: str
    amount: Decimal
    currency: str
    payment_method: str
    created_at: datetime
    revision: int = 0
    attempted_at: datetime | None = None
    contact: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    gateway_method: str | None = None
    return_url: str | None = None
    recover_after: datetime | None = None
    gateway_id: str | None = None
    stray_charge: str | None = None
    fraud_warning: str | None = None
    card_brand: str | None = None
    card_last_four: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    retry_advice: str | None = None
    refunds: tuple[Refund, ...] = ()
    refund_reserved: Decimal = _ZERO
    amount_refunded: Decimal = _ZERO
    disputes: tuple[Dispute, ...] = ()
    history: tuple[Step, ...] = ()
    outbox: tuple[OutboxEntry, ...] = ()
    processed_at: datetime | None = None

    @property
    def retry_possible(self) -> bool:
        """Return whether the customer can retry after a failure."""
        return self.retry_advice != "never"

    @property
    def refundable(self) -> Decimal:
        """Return the amount not yet reserved by refunds, in major units."""
        return self.amount - self.refund_reserved

    @property
    def disputed(self) -> bool:
        """Return whether a dispute is open or holds the money."""
        return any(dispute.holds_money or not dispute.closed for dispute in self.disputes)

    @property
    def last_attempt(self) -> datetime:
        """Return the time of the last charge request, or of the creation for older records."""
        return self.attempted_at or self.created_at

    def refund(self, refund_id: str) -> Refund | None:
        """Return the refund with that id (`REF-…`)."""
        return next((refund for refund in self.refunds if refund.id == refund_id), None)

    def refund_by_gateway_id(self, gateway_id: str) -> Refund | None:
        """Return the refund with that gateway id."""
        return next((refund for refund in self.refunds if refund.gateway_id == gateway_id), None)

    def with_refund(self, changed: Refund) -> tuple[Refund, ...]:
        """Return `refunds` with one of them replaced."""
        return tuple(changed if refund.id == changed.id else refund for refund in self.refunds)

    def with_step(self, step: Step) -> tuple[Step, ...]:
        """Return `history` with one more entry."""
        return (*self.history, step)


def changed(payment: Payment, **fields: object) -> Payment:
    """Return a copy of `payment` with some fields changed."""
    return replace(payment, **fields)  # type: ignore[arg-type]
