"""Find the bookings of a showtime in the events of booking services."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.clock import from_iso
from app.errors import InvalidRequest
from app.events.times import read_time
from app.ids import forms_of, normalized_id
from app.models import Notification, storage_errors
from app.payments.bulk.records import MAX_LINES, Entry

_CONFIRMED, _UPDATED, _CANCELLED = "booking.confirmed", "booking.updated", "booking.cancelled"

#: Fields that distinguish screenings at the same time: field of the events → option of the command.
_DETAIL_OPTIONS = {"movie_title": "--movie", "cinema_name": "--cinema", "screen": "--screen"}

_READ = ("booking_id", "showtime", "timezone", "timestamp", "refund_eligible", *_DETAIL_OPTIONS)
_FIELDS = ("event_type", *(f"event_data.{name}" for name in _READ))

#: Maximum difference between local time and UTC, and therefore between the dates of equal times.
_DAY = timedelta(days=1)

_IDS_PER_QUERY = 1_000
_BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Screening:
    """A screening that an operator named.

    Attributes:
        showtime: ISO 8601 with any offset, or free text exactly as in the events.
        details: event field → value, for the given fields of movie_title, cinema_name, screen.
    """

    showtime: str
    details: Mapping[str, str]

    @property
    def name(self) -> str:
        """Return a description of the screening."""
        return ", ".join((*self.details.values(), self.showtime))


def find_bookings(screening: Screening) -> list[Entry]:
    """Return the bookings of a screening, after their newest events.

    Raises:
        InvalidRequest: no booking or too many bookings match, or the screening is ambiguous.
        ServiceUnavailable: the database is unavailable.
    """
    conditions: dict[str, Any] = {"event_type": {"$in": [_CONFIRMED, _UPDATED]}}
    conditions["event_data.showtime"] = _range(screening.showtime)
    conditions |= {f"event_data.{name}": value for name, value in screening.details.items()}
    with storage_errors():
        bookings = {
            normalized_id(found["event_data"]["booking_id"])
            for found in Notification.find(conditions, *_FIELDS)
            if _is_at(found["event_data"], screening.showtime)
        }
        if len(bookings) > MAX_LINES:
            raise InvalidRequest(
                f"More than {MAX_LINES} bookings match. Also specify the movie, cinema, or screen."
            )
        events = _events_of(sorted(bookings))
    return bookings_at(screening, events)


def bookings_at(screening: Screening, events: Iterable[Mapping[str, Any]]) -> list[Entry]:
    """Return the bookings of a screening, ordered by id.

    Args:
        screening: the screening.
        events: events of the bookings, with `event_type` and `event_data`, in any order.

    Raises:
        InvalidRequest: no booking matches, or the bookings are of several screenings.
    """
    states: dict[str, Mapping[str, Any]] = {}
    refused: set[str] = set()
    for event in sorted(events, key=_published):
        booking_id = normalized_id(event["event_data"]["booking_id"])
        if event["event_type"] == _CANCELLED:
            if event["event_data"].get("refund_eligible") is False:
                refused.add(booking_id)
        else:
            states[booking_id] = event["event_data"]
            refused.discard(booking_id)
    matching = {
        booking_id: state
        for booking_id, state in sorted(states.items())
        if _is_at(state, screening.showtime)
        and all(state.get(name) == value for name, value in screening.details.items())
    }
    if not matching:
        raise InvalidRequest(
            f"No booking on record matches this screening: {screening.name}. Check "
            "the showtime, movie, cinema, and screen."
        )
    _check_unambiguous(screening, list(matching.values()))
    return [
        Entry(number, booking_id=booking_id, eligible=booking_id not in refused)
        for number, booking_id in enumerate(matching, 1)
    ]


def _check_unambiguous(screening: Screening, states: Sequence[Mapping[str, Any]]) -> None:
    for name, option in _DETAIL_OPTIONS.items():
        found = sorted({str(state.get(name) or "–") for state in states})
        if name not in screening.details and len(found) > 1:
            shown, detail = "; ".join(found[:5]), option.removeprefix("--")
            raise InvalidRequest(
                f"The bookings are for several screenings, which differ in the {detail}: {shown}. Specify "
                f"the {detail} (on the command line: {option})."
            )


def _events_of(booking_ids: Sequence[str]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    for start in range(0, len(booking_ids), _IDS_PER_QUERY):
        ids = [form for each in booking_ids[start : start + _IDS_PER_QUERY] for form in forms_of(each)]
        query: dict[str, Any] = {"booking_id": {"$in": ids}}
        query["event_type"] = {"$in": [_CONFIRMED, _UPDATED, _CANCELLED]}
        events += Notification.find(query, *_FIELDS)
    return events


def _range(showtime: str) -> Any:
    """Return a filter for possible other notations of a time."""
    time = read_time(showtime)
    day = time.day or (time.local.date() if time.local else None)
    if day is None:
        return showtime
    try:
        return {"$gte": (day - _DAY).isoformat(), "$lt": (day + 2 * _DAY).isoformat()}
    except OverflowError:  # outside the years 1 to 9999
        return showtime


def _is_at(event: Mapping[str, Any], showtime: str) -> bool:
    text = event.get("showtime")
    if not isinstance(text, str):
        return False
    if text == showtime:
        return True
    zone = event.get("timezone")
    theirs = read_time(text, zone).instant
    return theirs is not None and theirs == read_time(showtime, zone).instant


def _published(event: Mapping[str, Any]) -> datetime:
    return from_iso(event["event_data"].get("timestamp")) or _BEGINNING
