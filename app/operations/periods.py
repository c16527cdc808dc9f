"""Split a period into intervals that start at local midnight or at the full hour.

Days with clock changes have 23 or 25 hours, so steps follow the zone's clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import tzinfo
    from zoneinfo import ZoneInfo

#: Periods up to the first value are divided into intervals of the second.
_STEPS = (
    (timedelta(hours=3), timedelta(minutes=5)),
    (timedelta(days=3), timedelta(hours=1)),
    (timedelta(days=21), timedelta(hours=6)),
)
_DAY = timedelta(days=1)

#: Intervals at least this long start at the same time of day, even across a clock change.
_BY_THE_CLOCK = timedelta(hours=6)

#: Origin of MongoDB's bins, which is equivalent to 1970 for bins that divide a day.
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)


def step_of(period: timedelta) -> timedelta:
    """Return the nominal length of a period's steps; a day may really have 23 to 25 hours."""
    return next((step for longest, step in _STEPS if period <= longest), _DAY)


def starts(since: datetime, until: datetime, step: timedelta, zone: tzinfo) -> list[datetime]:
    """Return the start of each step in UTC, from the step of `since` to the step of `until`."""
    found: list[datetime] = []
    for day, next_day in pairwise(_midnights(since, until, zone)):
        steps = _by_the_clock if step >= _BY_THE_CLOCK else _by_the_hour
        found += steps(day, next_day, step, zone)
    first = bisect_right(found, since) - 1
    return found[first : bisect_right(found, until)]


def truncation(step: timedelta, found: Sequence[datetime], zone: ZoneInfo) -> dict[str, object]:
    """Return the `$dateTrunc` arguments for bins that never span two steps."""
    if step == _DAY:
        return {"unit": "day", "timezone": zone.key}
    return {"unit": "minute", "binSize": _bin_minutes(found)}


def _bin_minutes(found: Sequence[datetime]) -> int:
    minutes = (int((start - _EPOCH).total_seconds()) // 60 for start in found)
    return gcd(_DAY // timedelta(minutes=1), *minutes)


def _midnights(since: datetime, until: datetime, zone: tzinfo) -> Iterator[datetime]:
    """Yield the start of each day in UTC, from the day of `since` to the day after `until`."""
    day = since.astimezone(zone).date()
    last = until.astimezone(zone).date() + _DAY
    while day <= last:
        # If clocks skip midnight, this is the time of the change.
        yield datetime.combine(day, time(), zone).astimezone(UTC)
        day += _DAY


def _by_the_clock(day: datetime, _next_day: datetime, step: timedelta, zone: tzinfo) -> Iterator[datetime]:
    local = day.astimezone(zone).replace(tzinfo=None)
    midnight = datetime.combine(local.date(), time())
    for number in range(_DAY // step):
        yield day if number == 0 else (midnight + number * step).replace(tzinfo=zone).astimezone(UTC)


def _by_the_hour(day: datetime, next_day: datetime, step: timedelta, _zone: tzinfo) -> Iterator[datetime]:
    start = day
    while start < next_day:
        yield start
        start += step
