"""Check whether a delivery is still relevant, right before it is sent, possibly hours after the event."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from actors.bookings import happened_before, is_superseded, outdated, recorded_facts
from app.clock import from_iso
from app.delivery_status import ACCEPTED, DeliveryStatus
from app.events import catalog
from app.events.changes import material_changes
from app.events.times import read_time, resolve_zone
from app.models import Notification

#: UTC-12, the last time zone to reach an hour. A time without a zone is certainly past if it is past there.
_LAST_ZONE = timedelta(hours=12)

#: Statuses of messages that were or may be read. An older state must not follow them.
_RECEIVED_STATUSES = (*ACCEPTED, DeliveryStatus.UNCERTAIN)

#: Event type → type of the later event that makes it untrue, and why it is then skipped.
_SUPERSEDED_BY = {
    "booking.cancelled": ("booking.confirmed", "the booking was confirmed again"),
    "payment.failed": ("payment.success", "the booking was paid later"),
}


def obsolete(notification: Notification, now: datetime) -> str | None:
    """Return why `notification` is obsolete; None if it is not.

    A confirmation or update is obsolete after the show has begun, and after a cancellation or later update
    was sent. An update without a material change is never sent. A reminder is sent while it matches the
    booking. A cancellation is obsolete after a later confirmation was recorded, and a failed payment after a
    later payment of the booking was.
    """
    match notification.event_type:
        case "booking.confirmed":
            return _too_late(notification.event_data, now) or _overtaken_confirmation(notification)
        case "booking.updated":
            if not any(material_changes(notification.event_data)):
                return "nothing changed that the customer must know"
            return _too_late(notification.event_data, now) or _overtaken_update(notification)
        case catalog.REMINDER:
            return _outdated_reminder(notification, now)
        case _:
            return _superseded(notification)


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


def _outdated_reminder(notification: Notification, now: datetime) -> str | None:
    event = notification.event_data
    begins = from_iso(event["begins_at"])
    if begins is not None and begins < now:
        return "the showtime has passed"
    return outdated(event, recorded_facts(event["booking_id"]))


def _superseded(notification: Notification) -> str | None:
    if notification.event_type not in _SUPERSEDED_BY:
        return None
    later, reason = _SUPERSEDED_BY[notification.event_type]
    return reason if is_superseded(notification.event_data, later) else None


def _overtaken_confirmation(notification: Notification) -> str | None:
    event = notification.event_data
    received = _received_events(notification, "booking.cancelled", "booking.updated")
    if any(not happened_before(sent, event) for sent in received["booking.cancelled"]):
        return "the booking's cancellation was sent before"
    return _overtaken(event, received["booking.updated"])


def _overtaken_update(notification: Notification) -> str | None:
    event = notification.event_data
    received = _received_events(notification, "booking.cancelled", "booking.confirmed", "booking.updated")
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


def _received_events(notification: Notification, *event_types: str) -> dict[str, list[dict[str, Any]]]:
    """Return the events whose messages about a booking were sent: event type → timestamps."""
    query = {
        "booking_id": notification.booking_id,
        "event_type": {"$in": list(event_types)},
        "status": {"$in": list(_RECEIVED_STATUSES)},
    }
    found: dict[str, list[dict[str, Any]]] = {event_type: [] for event_type in event_types}
    for sent in Notification.find(query, "event_type", "event_data.timestamp"):
        found[sent["event_type"]].append(sent["event_data"])
    return found
