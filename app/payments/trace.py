"""Everything that is on record about one payment, as one story: whichever of its ids is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.errors import TransactionNotFound
from app.models import Notification, Transaction, storage_errors

if TYPE_CHECKING:
    from mongoengine import QuerySet

#: Payments and deliveries shown of one booking.
_MOST = 100


@dataclass(frozen=True)
class Entry:
    """Something that happened.

    Attributes:
        at: when.
        subject: the transaction's or refund's id, or the channel of a delivery.
        what: the state it came to.
        detail: ids and reasons, as far as known.
    """

    at: datetime
    subject: str
    what: str
    detail: dict[str, str]


def trace(wanted: str) -> list[Entry]:
    """The story behind an id, oldest first.

    Args:
        wanted: the id of a payment, refund, booking, HTTP request, event or PaymentIntent, or the Message-ID
            or record id of a mail or text.

    Raises:
        TransactionNotFound: nothing on record has that id.
        ServiceUnavailable: MongoDB did not answer.
    """
    with storage_errors():
        payments, notifications = _found(wanted.strip())
        if not payments and not notifications:
            raise TransactionNotFound("Nothing on record has this id.", transaction_id=wanted)
        entries = [entry for payment in payments for entry in _of_payment(payment)]
        entries += [entry for notification in notifications for entry in _of_notification(notification)]
    return sorted(entries, key=lambda entry: entry.at)


def _found(wanted: str) -> tuple[list[Transaction], list[Notification]]:
    """The payments that the id leads to, with the deliveries of their bookings, and those it names itself."""
    for query in (
        {"id": wanted},
        {"refunds__id": wanted},
        {"booking_id": wanted},
        {"gateway_id": wanted},
        {"history__request_id": wanted},
        {"outbox_since__gt": datetime.min, "outbox__event_id": wanted},
    ):
        payments = _some(Transaction.objects(**query))
        if payments:
            return payments, _some(Notification.objects(booking_id__in=[p.booking_id for p in payments]))
    notifications = _some(Notification.objects(booking_id=wanted)) or _named(wanted)
    if any(notification.booking_id for notification in notifications):
        bookings = {notification.booking_id for notification in notifications}
        return _some(Transaction.objects(booking_id__in=bookings)), _some(
            Notification.objects(booking_id__in=bookings)
        )
    return [], notifications


def _named(wanted: str) -> list[Notification]:
    queries: list[dict[str, Any]] = [{"event_id": wanted}, {"message_id": f"<{wanted.strip('<>')}>"}]
    if len(wanted) == 24:  # MongoDB's own ids
        queries.append({"id": wanted})
    return next((found for query in queries if (found := _some(Notification.objects(**query)))), [])


def _some(query: QuerySet) -> list[Any]:
    return list(query.order_by("-created_at").limit(_MOST))


def _of_payment(payment: Transaction) -> Iterator[Entry]:
    for move in payment.history:
        known = {
            "actor": move.actor,
            "request": move.request_id,
            "gateway": move.gateway_id,
            "event": move.event_id,
            "note": move.note,
        }
        yield Entry(move.at, payment.id, move.status, _filled(known))
    for dispute in payment.disputes:
        yield Entry(dispute.at, payment.id, f"dispute {dispute.status}", _filled({"reason": dispute.reason}))
    for waiting in payment.outbox:
        yield Entry(waiting.created_at, payment.id, "event not yet published", {"event": waiting.event_id})


def _of_notification(notification: Notification) -> Iterator[Entry]:
    channel = notification.notification_type
    about = {"event": notification.event_id, "type": notification.event_type}
    yield Entry(notification.created_at, channel, "recorded", about | _filled({"to": notification.recipient}))
    for attempt in notification.attempts:
        detail = {"event": notification.event_id, "message": notification.message_id, "reply": attempt.detail}
        yield Entry(attempt.at, channel, attempt.outcome, _filled(detail))
    if not notification.attempts and notification.status != "queued":
        reason = _filled({"reason": notification.error_message})
        yield Entry(notification.created_at, channel, notification.status, about | reason)


def _filled(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
