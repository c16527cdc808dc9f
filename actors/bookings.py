"""Derive a booking's current state from its recorded events.

Events arrive late, twice, and out of order. The state depends on their timestamps and on whether they were
recorded, not on their order of arrival or on sent messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from bson import ObjectId

from app.events.changes import material_changes
from app.events.times import read_time
from app.models import Notification

_CONFIRMED, _UPDATED, _CANCELLED = "booking.confirmed", "booking.updated", "booking.cancelled"

#: Event types that report refunds. Both may report the same refund.
_REFUNDS = ("booking.refunded", "payment.refund")

#: Event types that contain the state of a booking.
STATES = (_CONFIRMED, _UPDATED)

#: Every event type that changes the state of a booking.
CHANGES = (*STATES, _CANCELLED, *_REFUNDS)

#: Fields of a ticket. A later state with the same values does not supersede an earlier one.
_TICKET = ("movie_title", "cinema_name", "cinema_address", "screen", "seats", "tickets")

#: Fields that a message takes from a later state of its booking: the ticket and its links.
RENEWED = (*_TICKET, "ticket_url", "directions_url", "poster_url")


@dataclass(frozen=True)
class Fact:
    """One recorded event about a booking.

    Attributes:
        event: the event.
        recorded_at: when it was recorded.
        notification_id: id of its delivery.
        upcoming_showtime: the delivery's field.
    """

    event_id: str
    event_type: str
    event: Mapping[str, Any]
    recorded_at: datetime
    notification_id: ObjectId
    upcoming_showtime: datetime | None = None


def recorded_facts(booking_id: str) -> list[Fact]:
    """Return the recorded events that change a booking's state, oldest record first."""
    query = {"booking_id": booking_id, "event_type": {"$in": list(CHANGES)}}
    fields = ("event_id", "event_type", "event_data", "created_at", "upcoming_showtime")
    found: dict[str, Fact] = {}
    for record in Notification.find(query, *fields):
        fact = Fact(
            record["event_id"],
            record["event_type"],
            record["event_data"],
            record["created_at"],
            record["_id"],
            record.get("upcoming_showtime"),
        )
        # An event has a record for each channel; one of them carries the showtime.
        if fact.upcoming_showtime or fact.event_id not in found:
            found[fact.event_id] = fact
    return sorted(found.values(), key=lambda fact: fact.recorded_at)


def is_superseded(event: Mapping[str, Any], event_type: str) -> bool:
    """Return whether a recorded event of a type, about the same booking, certainly happened later."""
    booking_id = event.get("booking_id")
    if booking_id is None:
        return False
    found = Notification.find({"booking_id": booking_id, "event_type": event_type}, "event_data.timestamp")
    return any(happened_before(event, later["event_data"]) for later in found)


def outdated(event: Mapping[str, Any], facts: Sequence[Fact]) -> str | None:
    """Return why the reminder of an event is outdated; None if it is not.

    A later state outdates it only if its own message carries the whole ticket, or if the show is another.

    Args:
        event: the event to check.
        facts: the booking's facts, oldest record first.
    """
    if _is_cancelled(facts):
        return "the booking is canceled"
    if _is_refunded_in_full(event, facts):
        return "the booking is refunded in full"
    current = current_state(facts)
    if current is None or _ticket(current.event) == _ticket(event):
        return None
    if _begins(current.event) == _begins(event) and not _has_message(current):
        return None
    return "the booking has changed since"


def renewed(event: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event with the ticket of a later state of its booking.

    A field that the state omits is kept, because a ticket without its codes admits nobody.
    """
    return {**event, **{name: state[name] for name in RENEWED if state.get(name)}}


def happened_before(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Return whether one event certainly happened before another."""
    try:
        earlier, later = (datetime.fromisoformat(event["timestamp"]) for event in (first, second))
        surely = earlier < later
    except (KeyError, ValueError, TypeError):  # not ISO 8601, or only one of them with an offset
        return False
    return surely


def _of_types(facts: Iterable[Fact], *event_types: str) -> Iterator[Fact]:
    return (fact for fact in facts if fact.event_type in event_types)


def current_state(facts: Sequence[Fact]) -> Fact | None:
    """Return the latest state: the last recorded, unless it certainly happened before another."""
    current: Fact | None = None
    for fact in _of_types(facts, *STATES):
        if current is None or not happened_before(fact.event, current.event):
            current = fact
    return current


def _has_message(state: Fact) -> bool:
    return state.event_type == _CONFIRMED or any(material_changes(state.event))


def _still_counts(fact: Fact, facts: Sequence[Fact]) -> bool:
    """Return whether no later confirmation has renewed the booking."""
    confirmed = _of_types(facts, _CONFIRMED)
    return not any(happened_before(fact.event, again.event) for again in confirmed)


def _is_cancelled(facts: Sequence[Fact]) -> bool:
    return any(_still_counts(fact, facts) for fact in _of_types(facts, _CANCELLED))


def _is_refunded_in_full(event: Mapping[str, Any], facts: Sequence[Fact]) -> bool:
    """Return whether one service has reported refunds of the booking's whole total.

    Sums of different services are not added: each may report the other's refunds.
    """
    total = _largest_total(event, facts)
    return bool(total) and any(
        sum(_refunds(event, facts, reporter).values()) >= total for reporter in _REFUNDS
    )


def _largest_total(event: Mapping[str, Any], facts: Sequence[Fact]) -> Decimal:
    """Return the largest total since the last confirmation, in the currency of `event`.

    An update may lower the total, and then the refund of the difference is not the refund of the rest.
    """
    states = (fact for fact in _of_types(facts, *STATES) if _still_counts(fact, facts))
    totals = (_amount(fact.event.get("total_amount")) for fact in states if _same_currency(fact.event, event))
    return max(totals, default=_amount(event.get("total_amount")))


def _refunds(event: Mapping[str, Any], facts: Sequence[Fact], reporter: str) -> dict[str, Decimal]:
    """Return the refunds in the currency of `event`, by id, because one may be reported twice."""
    return {
        str(fact.event.get("refund_transaction_id") or fact.event_id): _amount(fact.event["refund_amount"])
        for fact in _of_types(facts, reporter)
        if _same_currency(fact.event, event) and _still_counts(fact, facts)
    }


def _same_currency(event: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return _currency(event, other) == _currency(other, event)


def _currency(event: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the currency of an event, or the other event's if it has none."""
    return str(event.get("currency") or other.get("currency") or "").upper()


def _amount(value: object) -> Decimal:
    return Decimal(0) if value is None else Decimal(str(value))


def _ticket(event: Mapping[str, Any]) -> tuple[Any, ...]:
    return (_begins(event), *(event.get(name) or None for name in _TICKET))


def _begins(event: Mapping[str, Any]) -> datetime | str:
    showtime = str(event.get("showtime"))
    return read_time(showtime, event.get("timezone")).instant or showtime
