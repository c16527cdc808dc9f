"""The calendar file of a booking: https://www.rfc-editor.org/rfc/rfc5545 and, for its methods, rfc5546.

The file is a REQUEST that its attendee has already accepted, not a PUBLISH: Gmail, Outlook, and Apple only
apply a later
update or CANCEL to an entry whose UID, ORGANIZER, and ATTENDEE they know, with a higher SEQUENCE. It requests
no reply. Times are in UTC, because a VTIMEZONE would need each zone's rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from icalendar import Calendar, Event, vCalAddress, vText

from actors.channels.email.conventions import Conventions
from app.addresses import InvalidAddress, parse_address
from app.clock import from_iso
from app.text import one_line


@dataclass(frozen=True)
class _Kind:
    """The calendar method and status of one kind of mail.

    Attributes:
        rank: order among mails with the same timestamp, by a booking's lifecycle.
    """

    method: str
    status: str
    rank: int


#: Template → iTIP method and status.
_KINDS = {
    "booking_confirmation": _Kind("REQUEST", "CONFIRMED", 0),
    "booking_update": _Kind("REQUEST", "CONFIRMED", 1),
    "booking_cancellation": _Kind("CANCEL", "CANCELLED", 2),
}

#: Default length of a show, because an entry without an end has no duration in Outlook and lasts all day
#: elsewhere.
DEFAULT_DURATION_MINUTES = 120

_MAX_LENGTH = 300

#: SEQUENCE counts thirds of a second since this date. Older versions counted minutes since 1970, which are
#: lower.
_SEQUENCE_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_MAX_SEQUENCE = 2**31 - 1


@dataclass(frozen=True)
class Invitation:
    """A calendar file. The MIME type repeats `method`."""

    method: str
    ics: bytes


def invitation(
    template: str, event: Mapping[str, Any], conventions: Conventions, organizer: tuple[str, str]
) -> Invitation | None:
    """Return the calendar file for a mail, or None.

    None if the showtime has no exact time, without a recipient, and for mails without a showing.

    Args:
        template: template of the mail.
        event: the unchanged event.
        conventions: the reader's conventions, with the zone.
        organizer: name and address of the sender.
    """
    kind = _KINDS.get(template)
    start = conventions.instant(event.get("showtime"))
    if kind is None or start is None:
        return None
    try:
        attendee = parse_address(str(event.get("user_email") or ""))
        begins, ends = start.astimezone(UTC), end_of(event, start).astimezone(UTC)
    except (InvalidAddress, OverflowError):
        return None
    entry = Event()
    entry.add("uid", _uid(str(event["booking_id"]), organizer[1]))
    entry.add("sequence", _sequence(event, kind))
    entry.add("dtstamp", _happened_at(event))
    entry.add("dtstart", begins)
    entry.add("dtend", ends)
    entry.add("summary", _text(event.get("movie_title")) or _text(event["booking_id"]))
    place = ", ".join(filter(None, (_text(event.get(name)) for name in ("cinema_name", "cinema_address"))))
    if place:
        entry.add("location", place)
    entry.add("description", _text(event["booking_id"]))
    entry.add("status", kind.status)
    entry.add("transp", "OPAQUE")
    entry["organizer"] = _calendar_user(organizer[1], CN=organizer[0])
    entry["attendee"] = _calendar_user(
        str(attendee), CUTYPE="INDIVIDUAL", ROLE="REQ-PARTICIPANT", PARTSTAT="ACCEPTED", RSVP="FALSE"
    )

    calendar = Calendar()
    calendar.add("prodid", "-//movieapp//bookings//EN")
    calendar.add("version", "2.0")
    calendar.add("method", kind.method)
    calendar.add_component(entry)
    return Invitation(kind.method, calendar.to_ical())


def end_of(event: Mapping[str, Any], start: datetime) -> datetime:
    """Return when a showing ends: after `duration_minutes`, else after `DEFAULT_DURATION_MINUTES`.

    Raises:
        OverflowError: the end is after the year 9999.
    """
    minutes = event.get("duration_minutes")
    known = isinstance(minutes, int | float) and not isinstance(minutes, bool) and 0 < minutes < 10_000
    return start + timedelta(minutes=int(minutes) if known and minutes else DEFAULT_DURATION_MINUTES)


def _calendar_user(address: str, **parameters: str) -> vCalAddress:
    user = vCalAddress(f"mailto:{address}")
    user.params.update({name: vText(value) for name, value in parameters.items()})
    return user


def _uid(booking_id: str, address: str) -> str:
    digest = hashlib.sha256(booking_id.encode()).hexdigest()[:32]
    return f"{digest}@{address.rpartition('@')[2]}"


def _happened_at(event: Mapping[str, Any]) -> datetime:
    """Return when the event happened, the same at every attempt, so that all copies of the mail are equal."""
    try:
        moment = from_iso(event.get("timestamp"))
        return moment.astimezone(UTC).replace(microsecond=0) if moment else datetime(1970, 1, 1, tzinfo=UTC)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)


def _sequence(event: Mapping[str, Any], kind: _Kind) -> int:
    """Return a SEQUENCE that increases with time, so that a changed booking replaces the older entry."""
    seconds = max(0, int((_happened_at(event) - _SEQUENCE_EPOCH).total_seconds()))
    return min(3 * seconds + kind.rank, _MAX_SEQUENCE)


def _text(value: object) -> str:
    return "" if value is None else one_line(str(value), _MAX_LENGTH)
