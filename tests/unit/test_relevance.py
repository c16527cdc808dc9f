"""When a confirmation is too late: after the showtime, or after the booking's cancellation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from actors import relevance
from actors.relevance import latest_meaning, review
from app.clock import iso
from app.models import Notification

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "latest"),
    [
        ("2026-12-15T20:00:00Z", None, "2026-12-15T20:00:00.000Z"),
        ("2026-12-15T20:00:00+02:00", "America/New_York", "2026-12-15T18:00:00.000Z"),
        ("2026-12-15T20:00:00", "America/New_York", "2026-12-16T01:00:00.000Z"),
        # A time without a zone is past when it is past everywhere.
        ("2026-12-15T20:00:00", None, "2026-12-16T08:00:00.000Z"),
        ("2026-12-15 20:00", "Nowhere/At_All", "2026-12-16T08:00:00.000Z"),
        ("2026-12-15", "Europe/Berlin", "2026-12-15T22:59:59.999Z"),
        ("2026-12-15", "../etc/passwd", "2026-12-16T11:59:59.999Z"),
        # Free text is sent and shown verbatim.
        ("2026-12-15 8:00 PM", None, None),
        ("tomorrow", "UTC", None),
        ("", None, None),
        # Its end in the last zone is after the year 9999.
        ("9999-12-31", None, None),
        ("9999-12-31T12:00:00", "Nowhere/At_All", None),
    ],
)
def test_an_ambiguous_showtime_means_its_latest_possible_instant(
    text: str, zone: str | None, latest: str | None
) -> None:
    found = latest_meaning(text, zone)
    assert (found and iso(found)) == latest
    assert found is None or found.tzinfo is not None


def confirmed(
    showtime: str = "2026-12-15T20:00:00Z", timestamp: object = "2026-11-30T10:00:00Z", zone: str = "UTC"
) -> Notification:
    """The delivery of a booking.confirmed event."""
    event = {"showtime": showtime, "timestamp": timestamp, "timezone": zone}
    return Notification(event_type="booking.confirmed", booking_id="BOOK-1", event_data=event)


@pytest.fixture
def cancelled_at(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Timestamps of the cancellations that were sent for the booking. The test adds to them."""
    timestamps: list[object] = []

    def others(notification: Notification) -> list[dict[str, object]]:
        assert notification.booking_id == "BOOK-1"
        sent = {"event_type": "booking.cancelled", "status": "sent"}
        return [sent | {"event_data": {"timestamp": timestamp}} for timestamp in timestamps]

    monkeypatch.setattr(relevance, "_other_events", others)
    return timestamps


def test_a_confirmation_is_sent_until_the_show_begins(cancelled_at: list[object]) -> None:
    begins = iso(NOW)
    assert review(confirmed(begins), NOW).obsolete is None
    assert review(confirmed(begins), NOW + timedelta(milliseconds=1)).obsolete == "the showtime has passed"
    in_new_york = confirmed("2026-12-01T06:59:59", zone="America/New_York")
    assert review(in_new_york, NOW).obsolete == "the showtime has passed"
    assert review(confirmed("tonight"), NOW + timedelta(days=999)).obsolete is None


def test_other_events_are_sent_at_any_time(cancelled_at: list[object]) -> None:
    late = confirmed(iso(NOW - timedelta(days=1)))
    late.event_type = "booking.refunded"
    assert review(late, NOW).obsolete is None


@pytest.mark.parametrize(
    ("timestamps", "is_sent"),
    [
        ([], True),
        (["2026-11-30T09:59:59Z"], True),
        (["2026-11-30T11:59:59+02:00"], True),
        (["2026-11-30T10:00:00Z"], False),
        (["2026-11-30T10:00:01Z"], False),
        (["2026-11-30T09:00:00Z", "2026-11-30T10:00:01Z"], False),
        # The order is unknown, and no mail is better than one for a canceled booking.
        (["2026-11-30T09:00:00"], False),
        (["yesterday"], False),
        ([""], False),
        ([None], False),
        ([20261130], False),
    ],
)
def test_a_confirmation_must_be_certainly_newer_than_every_cancellation(
    cancelled_at: list[object], timestamps: list[object], is_sent: bool
) -> None:
    cancelled_at += timestamps
    reason = None if is_sent else "the booking's cancellation was sent before"
    assert review(confirmed(), NOW).obsolete == reason


def test_a_confirmation_with_an_unreadable_timestamp_is_not_newer(cancelled_at: list[object]) -> None:
    cancelled_at.append("2026-11-30T09:00:00Z")
    assert review(confirmed(timestamp="today"), NOW).obsolete == "the booking's cancellation was sent before"
