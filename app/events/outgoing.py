"""The events this app publishes, built from a transaction. Shapes: contract, section 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.clock import iso
from app.ids import new_id
from app.messaging.wire import dumps
from app.models import OutboxEntry
from app.telemetry import tracing

if TYPE_CHECKING:
    from datetime import datetime

    from app.models import Refund, Transaction


#: What customers are told: https://docs.stripe.com/refunds#refund-timing
REFUND_TIME = "5-10 business days"


def payment_success(payment: Transaction) -> dict[str, Any]:
    """The fields of `payment.success` beyond the base."""
    return {
        "card_brand": payment.card_brand,
        "card_last_four": payment.card_last_four,
        "processed_at": iso(payment.processed_at),
    }


def payment_failed(payment: Transaction) -> dict[str, Any]:
    """The fields of `payment.failed` beyond the base."""
    return {
        "failure_reason": payment.error_message,
        "error_code": payment.error_code,
        "retry_possible": payment.retry_possible,
        "retry_advice": payment.retry_advice,
    }


def payment_refund(payment: Transaction, refund: Refund, now: datetime) -> OutboxEntry:
    """An outbox entry for a refund that is on its way."""
    fields = {
        "original_transaction_id": payment.id,
        "refund_transaction_id": refund.id,
        "refund_amount": float(refund.amount),
        "reason": refund.reason,
        "processing_time": REFUND_TIME,
    }
    return _entry("payment.refund", payment, fields, now)


_FIELDS = {"payment.success": payment_success, "payment.failed": payment_failed}


def payment_event(event_type: str, payment: Transaction, now: datetime) -> OutboxEntry:
    """An outbox entry for `payment` as it stands, with a new event id."""
    fields = {
        "transaction_id": payment.id,
        # The only way out of Decimal: at most 13 significant digits, which a float's shortest form keeps.
        "amount": float(payment.amount),
        "payment_method": payment.payment_method,
        **_FIELDS[event_type](payment),
    }
    return _entry(event_type, payment, fields, now)


def _entry(event_type: str, payment: Transaction, fields: dict[str, Any], now: datetime) -> OutboxEntry:
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
    return OutboxEntry(
        event_id=event_id,
        event_type=event_type,
        body=body,
        traceparent=tracing.traceparent(),
        created_at=now,
    )
