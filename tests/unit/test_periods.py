"""Periods divided into intervals by the clock of a zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from app.operations.periods import starts, step_of, truncation

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("zone", "until", "lengths"),
    [
        ("Europe/Berlin", datetime(2026, 10, 27, 12, tzinfo=UTC), {DAY, DAY + HOUR}),
        ("Europe/Berlin", datetime(2026, 4, 10, 12, tzinfo=UTC), {DAY, DAY - HOUR}),
        ("Australia/Lord_Howe", datetime(2026, 10, 27, tzinfo=UTC), {DAY, DAY - HOUR / 2}),
        ("Africa/Cairo", datetime(2026, 5, 10, tzinfo=UTC), {DAY, DAY - HOUR}),
        ("UTC", datetime(2026, 10, 27, 12, tzinfo=UTC), {DAY}),
    ],
)
def test_days_begin_at_midnight_where_clocks_change(
    zone: str, until: datetime, lengths: set[timedelta]
) -> None:
    found = starts(until - 30 * DAY, until, DAY, ZoneInfo(zone))
    assert {later - earlier for earlier, later in pairwise(found)} == lengths
    assert found[0] <= until - 30 * DAY
    assert found[-1] <= until
    local = [start.astimezone(ZoneInfo(zone)) for start in found]
    assert len({start.date() for start in local}) == len(found)
    # In Cairo the clock goes from 23:59 to 01:00 on one day of the year.
    assert {start.hour for start in local} - {1} == {0}


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
@pytest.mark.parametrize("days", [0.01, 0.1, 1, 7, 20])
def test_no_bin_spans_two_intervals(zone: str, days: float) -> None:
    until = datetime(2026, 10, 27, 12, 34, tzinfo=UTC)
    period = timedelta(days=days)
    found = starts(until - period, until, step_of(period), ZoneInfo(zone))
    size = timedelta(minutes=int(str(truncation(step_of(period), found, ZoneInfo(zone))["binSize"])))
    assert all((start - datetime(2000, 1, 1, tzinfo=UTC)) % size == timedelta(0) for start in found)
    assert found[0] <= until - period


def test_days_are_counted_by_mongodb_in_the_zone() -> None:
    zone = ZoneInfo("Europe/Berlin")
    assert truncation(DAY, [], zone) == {"unit": "day", "timezone": "Europe/Berlin"}
