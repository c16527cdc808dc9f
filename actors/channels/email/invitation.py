"""The calendar file of a booking: https://www.rfc-editor.org/rfc/rfc5545 and, for its methods, rfc5546.

PUBLISH, not REQUEST: the reader is nobody's attendee and has nothing to answer. A cancellation of the same
UID takes the entry out again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from icalendar import Calendar, Event, Timezone, vCalAddress, vText

from actors.channels.email.conventions import Conventions
from actors.channels.email.text import one_line

#: Template → method and status.
_METHODS = {
    "booking_confirmation": ("PUBLISH", "CONFIRMED"),
    "booking_cancellation": ("CANCEL", "CANCELLED"),
}

_LONGEST = 300


@dataclass(frozen=True)
class Invitation:
    """A calendar file; `method` is told in the MIME type too."""

    method: str
    ics: bytes


def invitation(
    template: str, event: Mapping[str, Any], conventions: Conventions, organizer: tuple[str, str]
) -> Invitation | None:
    """The calendar file for a mail; None where the showtime is no moment, or the mail is about no showing.

    Args:
        template: of the mail.
        event: as it came.
        conventions: the reader's; gives the zone.
        organizer: name and address of the sender.
    """
    if template not in _METHODS:
        return None
    start = conventions.instant(event.get("showtime"))
    if start is None:
        return None
    method, status = _METHODS[template]
    entry = Event()
    entry.add("uid", _uid(str(event["booking_id"]), organizer[1]))
    entry.add("sequence", _sequence(event, method))
    entry.add("dtstamp", _told_at(event))
    entry.add("dtstart", start)
    minutes = event.get("duration_minutes")
    if isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes < 10_000:
        entry.add("dtend", start + timedelta(minutes=int(minutes)))
    entry.add("summary", _text(event.get("movie_title")) or _text(event["booking_id"]))
    place = ", ".join(filter(None, (_text(event.get(name)) for name in ("cinema_name", "cinema_address"))))
    if place:
        entry.add("location", place)
    entry.add("description", _text(event["booking_id"]))
    entry.add("status", status)
    entry.add("transp", "OPAQUE")
    address = vCalAddress(f"mailto:{organizer[1]}")
    address.params["CN"] = vText(organizer[0])
    entry["organizer"] = address

    calendar = Calendar()
    calendar.add("prodid", "-//movieapp//bookings//EN")
    calendar.add("version", "2.0")
    calendar.add("method", method)
    calendar.add_component(entry)
    ics = calendar.to_ical()
    zone = getattr(start.tzinfo, "key", None)
    if zone and zone != "UTC":
        # Before the entry, which begins where nothing of the event has been written yet.
        ics = ics.replace(b"BEGIN:VEVENT", _timezone(zone, start.year) + b"BEGIN:VEVENT", 1)
    return Invitation(method, ics)


def _uid(booking_id: str, address: str) -> str:
    digest = hashlib.sha256(booking_id.encode()).hexdigest()[:32]
    return f"{digest}@{address.rpartition('@')[2]}"


def _told_at(event: Mapping[str, Any]) -> datetime:
    """When the event happened; the same at every try, so that every copy of the mail is the same."""
    try:
        return datetime.fromisoformat(str(event.get("timestamp"))).astimezone(UTC).replace(microsecond=0)
    except (ValueError, OverflowError):
        return datetime(1970, 1, 1, tzinfo=UTC)


def _sequence(event: Mapping[str, Any], method: str) -> int:
    """Rises with time, so that a changed booking replaces what the calendar has, and its end comes last."""
    minutes = max(0, int(_told_at(event).timestamp() // 60))
    return min(minutes + (method == "CANCEL"), 2**31 - 1)


@lru_cache(maxsize=256)
def _timezone(name: str, year: int) -> bytes:
    """The VTIMEZONE of a zone, with its rules around a year."""
    first, last = date(year - 1, 1, 1), date(year + 2, 1, 1)
    zone: bytes = Timezone.from_tzid(name, first_date=first, last_date=last).to_ical()
    return zone


def _text(value: object) -> str:
    return "" if value is None else one_line(str(value), _LONGEST)
