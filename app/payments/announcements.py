"""Build the events that payments publish."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.clock import iso
from app.ids import new_id
from app.messaging.wire import dumps
from app.payments.records import OutboxEntry
from app.payments.states import EMITS
from app.telemetry import tracing

if TYPE_CHECKING:
    from datetime import datetime

    from app.payments.records import Dispute, Payment, Refund

#: The processing time announced to customers: https://docs.stripe.com/refunds#refund-timing
REFUND_TIME = "5-10 business days"


def _success(payment: Payment) -> dict[str, Any]:
    return {
        "card_brand": payment.card_brand,
        "card_last_four": payment.card_last_four,
        "processed_at": payment.processed_at and iso(payment.processed_at),
    }


def _failed(payment: Payment) -> dict[str, Any]:
    return {
        "failure_reason": payment.error_message,
        "error_code": payment.error_code,
        "retry_possible": payment.retry_possible,
        "retry_advice": payment.retry_advice,
    }


def _canceled(_payment: Payment) -> dict[str, Any]:
    return {}


_FIELDS: dict[str, Callable[[Payment], dict[str, Any]]] = {
    "payment.success": _success,
    "payment.failed": _failed,
    "payment.canceled": _canceled,
}


def payment_event(payment: Payment, now: datetime) -> OutboxEntry | None:
    """Return the event for the new status of `payment`, with a new event id; None if the status has none."""
    event_type = EMITS.get(payment.status)
    if event_type is None:
        return None
    fields = {
        "transaction_id": payment.id,
        # The only conversion from Decimal to float. An amount has at most 13 significant digits, which a
        # float's shortest representation keeps.
        "amount": float(payment.amount),
        "payment_method": payment.payment_method,
        **_FIELDS[event_type](payment),
    }
    return _entry(event_type, payment, fields, now)


def refund_event(payment: Payment, refund: Refund, now: datetime) -> OutboxEntry:
    """Return the event of a completed refund."""
    fields = {
        "original_transaction_id": payment.id,
        "refund_transaction_id": refund.id,
        "refund_amount": float(refund.amount),
        "reason": refund.reason,
        "processing_time": REFUND_TIME,
    }
    return _entry("payment.refund", payment, fields, now)


def dispute_event(payment: Payment, dispute: Dispute, now: datetime) -> OutboxEntry:
    """Return the event of a dispute that was opened or has changed."""
    fields = {
        "transaction_id": payment.id,
        "dispute_id": dispute.id,
        "status": dispute.status,
        "amount": None if dispute.amount is None else float(dispute.amount),
        "reason": dispute.reason,
        "evidence_due_by": dispute.evidence_due_by and iso(dispute.evidence_due_by),
    }
    return _entry("payment.disputed", payment, fields, now)


def _entry(event_type: str, payment: Payment, fields: dict[str, Any], now: datetime) -> OutboxEntry:
    event_id = new_id("evt_")
    event = {
        "event_id": event_id,
        "event_type": event_type,
        "timestamp": iso(now),
        "user_id": payment.user_id,
        **payment.contact,
        "booking_id": payment.booking_id,
        "currency": payment.currency,
        **fields,
    }
    body = dumps({name: value for name, value in event.items() if value is not None})
    return OutboxEntry(event_id, event_type, body, now, tracing.traceparent())
