"""The bookings of a screening, by their newest events."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import InvalidRequest
from app.models import Notification
from app.payments.bulk.records import Entry
from app.payments.bulk.showtimes import Screening, bookings_at, find_bookings

SHOWTIME = "2036-12-15T20:00:00-05:00"
FILM = {"movie_title": "The Third Man"}


def event(booking: str, kind: str = "confirmed", day: int = 1, **fields: Any) -> dict[str, Any]:
    data = {
        "booking_id": booking,
        "showtime": SHOWTIME,
        "movie_title": "The Third Man",
        "cinema_name": "Grand Palace",
        "screen": "4",
        "timestamp": f"2036-11-{day:02}T10:00:00Z",
    }
    return {"event_type": f"booking.{kind}", "event_data": data | fields}


def found(*events: dict[str, Any], showtime: str = SHOWTIME, **details: str) -> list[Entry]:
    return bookings_at(Screening(showtime, FILM | details), events)


def test_the_same_instant_in_another_format_is_the_same_screening() -> None:
    events = [
        event("B-2", showtime="2036-12-16T01:00:00Z"),
        event("B-1"),
        event("B-1"),
        event("B-3", showtime="2036-12-15T20:00:00", timezone="America/New_York"),
        event("B-4", showtime="2036-12-15T21:00:00-05:00"),
    ]
    assert found(*events) == [
        Entry(1, booking_id="B-1"),
        Entry(2, booking_id="B-2"),
        Entry(3, booking_id="B-3"),
    ]


def test_a_bookings_id_is_normalized_as_its_payments() -> None:
    one, other = "BOOK-e\u0301", "BOOK-\u00e9"
    assert found(event(one)) == [Entry(1, booking_id=other)]
    canceled = event(other, "cancelled", 2, refund_eligible=False)
    assert found(event(one), canceled) == [Entry(1, booking_id=other, eligible=False)]


def test_free_text_showtimes_are_compared_verbatim() -> None:
    text = "2036-12-15 8:00 PM"
    assert found(event("B-1", showtime=text), event("B-2"), showtime=text) == [Entry(1, booking_id="B-1")]


def test_a_moved_booking_belongs_to_its_new_screening() -> None:
    elsewhere = "2036-12-16T20:00:00-05:00"
    events = [
        event("B-1", "updated", 2, showtime=elsewhere),
        event("B-1"),
        event("B-2", showtime=elsewhere),
        event("B-2", "updated", 2),
    ]
    assert found(*events) == [Entry(1, booking_id="B-2")]


def test_a_canceled_booking_without_refund_eligibility_is_marked() -> None:
    events = [
        event("B-1"),
        event("B-1", "cancelled", 2, refund_eligible=False),
        event("B-2"),
        event("B-2", "cancelled", 2, refund_eligible=True),
        event("B-3"),
        event("B-3", "cancelled", 2, refund_eligible=False),
        event("B-3", "confirmed", 3),
    ]
    assert [entry.eligible for entry in found(*events)] == [False, True, True]


def test_screenings_at_the_same_time_are_distinguished() -> None:
    events = [event("B-1"), event("B-2", cinema_name="Riverside"), event("B-3", screen="5")]
    with pytest.raises(InvalidRequest, match="Grand Palace; Riverside"):
        found(*events)
    with pytest.raises(InvalidRequest, match=r"Specify the screen \(on the command line: --screen\)"):
        found(*events, cinema_name="Grand Palace")
    assert found(*events, cinema_name="Riverside") == [Entry(1, booking_id="B-2")]


def test_an_unknown_screening_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="No booking on record matches this screening: Dune, 2036"):
        bookings_at(Screening("2036-01-01T20:00:00Z", {"movie_title": "Dune"}), [])


@pytest.mark.parametrize("showtime", ["0001-01-01", "9999-12-30", "9999-12-31T20:00:00Z"])
def test_a_screening_at_the_ends_of_the_calendar_is_searched_verbatim(
    monkeypatch: pytest.MonkeyPatch, showtime: str
) -> None:
    searched: list[Any] = []

    def find(query: dict[str, Any], *fields: str) -> list[Any]:
        searched.append(query.get("event_data.showtime"))
        return []

    monkeypatch.setattr(Notification, "find", find)
    with pytest.raises(InvalidRequest, match="No booking on record"):
        find_bookings(Screening(showtime, FILM))
    assert searched == [showtime]
