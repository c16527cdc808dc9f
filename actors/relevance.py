"""Whether a delivery still makes sense: checked right before it is sent, maybe hours after the event."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

from app.delivery_status import DeliveryStatus
from app.events.changes import material_changes
from app.events.times import read_time, resolve_zone
from app.models import Notification

#: The last place on Earth where it is still the same hour (UTC-12): a time without a zone is past for sure
#: once it is past there.
_LAST_ZONE = timedelta(hours=12)

#: What somebody has read, or may have.
_TOLD = (DeliveryStatus.SENT, DeliveryStatus.UNCERTAIN)


def obsolete(notification: Notification, now: datetime) -> str | None:
    """Return why `notification` is not to be sent any more; None if it is.

    A confirmation or an update is too late once the show has begun, once its booking's cancellation was sent,
    and once an update from after it was. An update that changes nothing the customer must know is never sent.
    """
    match notification.event_type:
        case "booking.confirmed":
            return _too_late(notification.event_data, now) or _overtaken_confirmation(notification)
        case "booking.updated":
            if not any(material_changes(notification.event_data)):
                return "nothing changed that the customer must know"
            return _too_late(notification.event_data, now) or _overtaken_update(notification)
        case _:
            return None


def _too_late(event: dict[str, Any], now: datetime) -> str | None:
    begins = latest_meaning(event["showtime"], event.get("timezone"))
    return "the showtime has passed" if begins is not None and begins < now else None


def latest_meaning(text: str, zone: str | None) -> datetime | None:
    """Return the latest moment that a showtime can mean; None for text that is neither a date nor a time.

    Args:
        text: with or without an offset; a date alone lasts until its end.
        zone: for a time without an offset; unknown: anywhere on Earth.
    """
    showtime = read_time(text, zone)
    moment = showtime.local
    if showtime.day is not None:
        moment = datetime.combine(showtime.day, time.max, resolve_zone(zone or ""))
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC) + _LAST_ZONE


def _overtaken_confirmation(notification: Notification) -> str | None:
    event = notification.event_data
    told = _told(notification, "booking.cancelled", "booking.updated")
    if any(not _before(sent, event) for sent in told["booking.cancelled"]):
        return "the booking's cancellation was sent before"
    return _overtaken(event, told["booking.updated"])


def _overtaken_update(notification: Notification) -> str | None:
    event = notification.event_data
    told = _told(notification, "booking.cancelled", "booking.confirmed", "booking.updated")
    confirmed = told["booking.confirmed"]
    # Only a confirmation from after it brings a cancelled booking back.
    if any(not any(_before(sent, again) for again in confirmed) for sent in told["booking.cancelled"]):
        return "the booking's cancellation was sent before"
    return _overtaken(event, told["booking.updated"] + confirmed)


def _overtaken(event: dict[str, Any], told: list[dict[str, Any]]) -> str | None:
    later = any(_before(event, sent) for sent in told)
    return "a later state of the booking was sent before" if later else None


def _told(notification: Notification, *event_types: str) -> dict[str, list[dict[str, Any]]]:
    """What was sent about a booking, over any channel: event type → the timestamps of its events."""
    wanted = {
        "booking_id": notification.booking_id,
        "event_type": {"$in": list(event_types)},
        "status": {"$in": list(_TOLD)},
    }
    found: dict[str, list[dict[str, Any]]] = {event_type: [] for event_type in event_types}
    for sent in Notification.find(wanted, "event_type", "event_data.timestamp"):
        found[sent["event_type"]].append(sent["event_data"])
    return found


def _before(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether one event surely happened before another."""
    try:
        earlier, later = (datetime.fromisoformat(event["timestamp"]) for event in (first, second))
        surely = earlier < later
    except (ValueError, TypeError):  # not ISO 8601, or only one of them with an offset
        return False
    return surely
