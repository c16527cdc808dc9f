"""Whether a delivery still makes sense. Asked right before it is sent, which may be hours after the event."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.delivery_status import DeliveryStatus
from app.models import Notification

#: The last place on Earth where it is still the same hour (UTC-12): a time without a zone is past for sure
#: once it is past there.
_LAST_ZONE = timedelta(hours=12)


def obsolete(notification: Notification, now: datetime) -> str | None:
    """Why `notification` is not to be sent any more; None if it is.

    A confirmation is too late once the show has begun, or once its booking's cancellation has gone out.
    """
    if notification.event_type != "booking.confirmed":
        return None
    event = notification.event_data
    begins = latest_meaning(event["showtime"], event.get("timezone"))
    if begins is not None and begins < now:
        return "the showtime has passed"
    if any(not _before(told["event_data"], event) for told in _cancellations(notification.booking_id)):
        return "the booking's cancellation was sent before"
    return None


def latest_meaning(text: str, zone: str | None) -> datetime | None:
    """The latest moment that an ISO 8601 time can mean; None for text in another form.

    Args:
        text: with or without an offset; a date alone lasts until its end.
        zone: IANA name, for a time without an offset; unknown: anywhere on Earth.
    """
    try:
        day = date.fromisoformat(text)
        moment = datetime.combine(day, time.max)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None
    if moment.tzinfo is None:
        try:
            moment = moment.replace(tzinfo=ZoneInfo(zone or ""))
        except (ValueError, LookupError, OSError):
            moment = moment.replace(tzinfo=UTC) + _LAST_ZONE
    return moment


def _cancellations(booking_id: str) -> Iterable[dict[str, Any]]:
    """What went out, over any channel, to say that the booking is cancelled."""
    cancelled = {"booking_id": booking_id, "event_type": "booking.cancelled"}
    return Notification.find(
        {**cancelled, "status": {"$in": [DeliveryStatus.SENT, DeliveryStatus.UNCERTAIN]}}, "event_data"
    )


def _before(cancellation: dict[str, Any], confirmation: dict[str, Any]) -> bool:
    """Whether the booking was surely cancelled first and confirmed anew later."""
    try:
        first, later = map(datetime.fromisoformat, (cancellation["timestamp"], confirmation["timestamp"]))
        surely = first < later
    except (ValueError, TypeError):  # no ISO 8601, or only one of them with an offset
        return False
    return surely
