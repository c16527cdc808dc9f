"""Collect all records about a payment, booking, or customer into one timeline, by any id or address."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.errors import TransactionNotFound
from app.ids import forms_of
from app.models import Notification, OperatorAction, Transaction, storage_errors
from app.operations.audit import actions_on
from app.operations.finding import Condition, completed, exactly, is_email, is_phone, of_email, of_phone

#: Maximum number of payments, and of notifications, in a timeline: the newest.
MAX_RECORDS = 100


@dataclass(frozen=True)
class Entry:
    """One entry of the timeline.

    Attributes:
        at: time of the entry.
        subject: the transaction's or refund's id, the channel of a delivery, or the operator who acted.
        what: the new state.
        detail: ids and reasons.
    """

    at: datetime
    subject: str
    what: str
    detail: dict[str, str]


@dataclass(frozen=True)
class Story:
    """A timeline.

    Attributes:
        entries: oldest first.
        more: whether older payments or notifications were left out, beyond the newest `MAX_RECORDS`.
    """

    entries: list[Entry]
    more: bool


def trace(search: str) -> list[Entry]:
    """Return the entries of `story`."""
    return story(search).entries


def story(search: str) -> Story:
    """Return everything on record about an id or an address.

    Args:
        search: id of a payment, refund, booking, user, HTTP request, event, or notification, of a
            PaymentIntent, refund, or dispute at Stripe, a Message-ID, or a prefix of one; or an email address
            or a phone number. Case does not matter.

    Raises:
        TransactionNotFound: no record matches.
        AmbiguousId: it is a prefix of several ids.
        ServiceUnavailable: MongoDB is unavailable.
    """
    search = search.strip()
    with storage_errors():
        payments, notifications = _found(search)
        if not payments and not notifications:
            raise TransactionNotFound(
                "No payment or notification matches this id or address.", transaction_id=search
            )
        entries = [entry for payment in payments for entry in _of_payment(payment)]
        entries += [entry for notification in notifications for entry in _of_notification(notification)]
        entries += map(_of_operator, actions_on(_ids(payments, notifications)))
    more = max(len(payments), len(notifications)) > MAX_RECORDS
    return Story(sorted(entries, key=lambda entry: entry.at), more)


_Found = tuple[list[Transaction], list[Notification]]


def _found(search: str) -> _Found:
    """Return the records of an id or address, and the other payments and notifications of their bookings."""
    if is_email(search) and any(found := _all(of_email(search))):
        return _with_bookings(found)
    if is_phone(search) and any(found := _all(of_phone(search))):
        return _with_bookings(found)
    found = _first(exactly(search))
    if not any(found) and (full_id := completed(search)):
        found = _first(exactly(full_id))
    return _with_bookings(found)


def _first(conditions: Iterable[tuple[Any, Condition]]) -> _Found:
    for record, condition in conditions:
        if records := condition.find(record, MAX_RECORDS + 1):
            return (records, []) if record is Transaction else ([], records)
    return [], []


def _all(conditions: Iterable[tuple[Any, Condition]]) -> _Found:
    payments: list[Transaction] = []
    notifications: list[Notification] = []
    for record, condition in conditions:
        (payments if record is Transaction else notifications).extend(condition.find(record, MAX_RECORDS + 1))
    return payments, notifications


def _with_bookings(found: _Found) -> _Found:
    """Add all other records of the bookings, up to `MAX_RECORDS` + 1 of each kind."""
    payments, notifications = found
    bookings = {each.booking_id for each in (*payments, *notifications) if each.booking_id}
    return _more(Transaction, payments, bookings), _more(Notification, notifications, bookings)


def _more(record: Any, known: list[Any], bookings: Collection[str]) -> list[Any]:
    if not bookings:
        return known
    forms = sorted(form for booking in bookings for form in forms_of(booking))
    of_bookings = Condition({"booking_id": {"$in": forms}}).find(record, MAX_RECORDS + 1)
    together = {each.pk: each for each in (*known, *of_bookings)}
    return sorted(together.values(), key=lambda each: each.created_at, reverse=True)[: MAX_RECORDS + 1]


def _of_payment(payment: Transaction) -> Iterator[Entry]:
    for number, move in enumerate(payment.history):
        first = {"booking": payment.booking_id, "amount": f"{payment.amount} {payment.currency}"}
        known = (first if number == 0 else {}) | {
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
    of = {"id": str(notification.id), "booking": notification.booking_id, "to": notification.recipient}
    yield Entry(notification.created_at, channel, "recorded", about | _filled(of))
    for attempt in notification.attempts:
        detail = {"event": notification.event_id, "message": notification.message_id, "reply": attempt.detail}
        yield Entry(attempt.at, channel, attempt.outcome, _filled(detail))
    if not notification.attempts and notification.status != "queued":
        reason = _filled({"reason": notification.error_message})
        yield Entry(notification.created_at, channel, notification.status, about | reason)


def _ids(payments: list[Transaction], notifications: list[Notification]) -> set[str]:
    """Return the ids that an operator may have acted on."""
    found: set[str] = set()
    for payment in payments:
        found |= {payment.id, payment.booking_id, *(refund.id for refund in payment.refunds)}
    for notification in notifications:
        found |= {str(notification.id), notification.event_id}
    return found


def _of_operator(action: OperatorAction) -> Entry:
    details = {name: str(value) for name, value in action.details.items()}
    return Entry(action.at, action.operator, action.action, {"on": action.target, **details})


def _filled(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
