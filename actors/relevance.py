"""Check whether a delivery is still relevant, right before it is sent, possibly hours after the event."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any, NamedTuple

from actors.bookings import (
    RENEWED,
    STATES,
    current_state,
    happened_before,
    is_superseded,
    outdated,
    recorded_facts,
    renewed,
)
from app.clock import from_iso
from app.delivery_status import ACCEPTED, DeliveryStatus
from app.events import catalog
from app.events.changes import differ_materially, material_changes
from app.events.times import read_time, resolve_zone
from app.models import Notification

#: UTC-12, the last time zone to reach an hour. A time without a zone is certainly past if it is past there.
_LAST_ZONE = timedelta(hours=12)

#: Statuses of messages that were or may be read. An older state must not follow them.
_RECEIVED_STATUSES = (*ACCEPTED, DeliveryStatus.UNCERTAIN)

#: Event types that decide about a confirmation or update of the same booking.
_DECISIVE = (*STATES, "booking.cancelled")

#: Event type → type of the later event that makes it untrue, and why it is then skipped.
_SUPERSEDED_BY = {
    "booking.cancelled": ("booking.confirmed", "the booking was confirmed again"),
    "payment.failed": ("payment.success", "the booking was paid later"),
}


class Review(NamedTuple):
    """Whether a delivery is still relevant, and what its message says.

    Attributes:
        obsolete: why the delivery is obsolete; None if it is not.
        event: the delivery's event, with the ticket that is valid now.
    """

    obsolete: str | None
    event: dict[str, Any]


def review(notification: Notification, now: datetime) -> Review:
    """Check whether `notification` is obsolete, and renew its ticket.

    A confirmation or update is obsolete after the show has begun, and after a cancellation or later update
    was sent. An update without a material change is never sent: messages that are sent after it carry its
    ticket. A reminder is sent while it matches the booking. A cancellation is obsolete after a later
    confirmation was recorded, and a failed payment after a later payment of the booking was.
    """
    match notification.event_type:
        case "booking.confirmed" | "booking.updated":
            return _review_state(notification, now)
        case catalog.REMINDER:
            return _review_reminder(notification.event_data, now)
        case _:
            return Review(_superseded(notification), notification.event_data)


def _review_state(notification: Notification, now: datetime) -> Review:
    event = notification.event_data
    is_update = notification.event_type == "booking.updated"
    if is_update and not any(material_changes(event)):
        return Review("nothing changed that the customer must know", event)
    if reason := _too_late(event, now):
        return Review(reason, event)
    others = _other_events(notification)
    overtaken = _overtaken_update if is_update else _overtaken_confirmation
    return Review(overtaken(event, _received_events(others)), _with_current_ticket(event, others))


def _review_reminder(event: dict[str, Any], now: datetime) -> Review:
    begins = from_iso(event["begins_at"])
    if begins is not None and begins < now:
        return Review("the showtime has passed", event)
    facts = recorded_facts(event["booking_id"])
    current = current_state(facts)
    return Review(outdated(event, facts), renewed(event, current.event) if current else event)


def _too_late(event: dict[str, Any], now: datetime) -> str | None:
    begins = latest_meaning(event["showtime"], event.get("timezone"))
    return "the showtime has passed" if begins is not None and begins < now else None


def latest_meaning(text: str, zone: str | None) -> datetime | None:
    """Return the latest possible time of a showtime; None for free text, and after the year 9999.

    Args:
        text: the showtime, with or without an offset; a date counts until its end.
        zone: zone of a time without an offset; if unknown, the last zone on Earth.
    """
    showtime = read_time(text, zone)
    moment = showtime.local
    if showtime.day is not None:
        moment = datetime.combine(showtime.day, time.max, resolve_zone(zone or ""))
    if moment is None or moment.tzinfo is not None:
        return moment
    try:
        return moment.replace(tzinfo=UTC) + _LAST_ZONE
    except OverflowError:
        return None


def _superseded(notification: Notification) -> str | None:
    if notification.event_type not in _SUPERSEDED_BY:
        return None
    later, reason = _SUPERSEDED_BY[notification.event_type]
    return reason if is_superseded(notification.event_data, later) else None


def _overtaken_confirmation(event: dict[str, Any], received: dict[str, list[dict[str, Any]]]) -> str | None:
    if any(not happened_before(sent, event) for sent in received["booking.cancelled"]):
        return "the booking's cancellation was sent before"
    return _overtaken(event, received["booking.updated"])


def _overtaken_update(event: dict[str, Any], received: dict[str, list[dict[str, Any]]]) -> str | None:
    confirmed = received["booking.confirmed"]
    # Only a later confirmation restores a canceled booking.
    if any(
        not any(happened_before(sent, again) for again in confirmed) for sent in received["booking.cancelled"]
    ):
        return "the booking's cancellation was sent before"
    return _overtaken(event, received["booking.updated"] + confirmed)


def _overtaken(event: dict[str, Any], received: list[dict[str, Any]]) -> str | None:
    later = any(happened_before(event, sent) for sent in received)
    return "a later state of the booking was sent before" if later else None


def _with_current_ticket(event: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an event with the ticket of the booking's current state, if that certainly happened later.

    A state with a material difference has its own message with the whole ticket.
    """
    latest = event
    for other in others:
        if other["event_type"] in STATES and happened_before(latest, other["event_data"]):
            latest = other["event_data"]
    return event if latest is event or differ_materially(event, latest) else renewed(event, latest)


def _received_events(others: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the events whose messages were sent: event type → events."""
    found: dict[str, list[dict[str, Any]]] = {event_type: [] for event_type in _DECISIVE}
    for other in others:
        if other["status"] in _RECEIVED_STATUSES:
            found[other["event_type"]].append(other["event_data"])
    return found


def _other_events(notification: Notification) -> list[dict[str, Any]]:
    """Return the records of other events that decide about a confirmation or update, newest first."""
    query = {
        "booking_id": notification.booking_id,
        "event_type": {"$in": list(_DECISIVE)},
        "event_id": {"$ne": notification.event_id},
    }
    read = [f"event_data.{name}" for name in ("timestamp", "showtime", "timezone", *RENEWED)]
    found = Notification.find(query, "event_type", "status", "created_at", *read)
    return sorted(found, key=lambda other: other["created_at"], reverse=True)
