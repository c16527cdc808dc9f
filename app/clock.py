"""Time functions: aware UTC datetimes inside, ISO 8601 with Z outside."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

#: The source of the time. The simulation of payments replaces it.
source: Callable[[], datetime] = partial(datetime.now, UTC)


def utcnow() -> datetime:
    """Return the current time in UTC, truncated to the milliseconds that MongoDB stores."""
    now = source()
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


def iso(moment: datetime) -> str:
    """Format `moment` as `2026-12-01T10:30:45.123Z`. Naive times, which MongoDB returns, are UTC."""
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def from_iso(text: object) -> datetime | None:
    """Parse a time that another program wrote as ISO 8601, as UTC. Without an offset it is UTC.

    Returns:
        None if `text` is not a time, or not one that UTC can express: 0001-01-01T00:00:00+23:59 is before
        the first year.
    """
    try:
        moment = datetime.fromisoformat(str(text))
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def seconds(start: datetime, end: datetime) -> float:
    """Return the seconds from `start` to `end`; 0 if another machine's clock is ahead."""
    return max(0.0, (end - start).total_seconds())
