"""Until when a showtime, as senders write it, may lie ahead."""

from __future__ import annotations

import pytest

from actors.relevance import latest_meaning
from app.clock import iso


@pytest.mark.parametrize(
    ("text", "zone", "latest"),
    [
        ("2026-12-15T20:00:00Z", None, "2026-12-15T20:00:00.000Z"),
        ("2026-12-15T20:00:00+02:00", "America/New_York", "2026-12-15T18:00:00.000Z"),
        ("2026-12-15T20:00:00", "America/New_York", "2026-12-16T01:00:00.000Z"),
        # Without a zone it is past once it is past everywhere.
        ("2026-12-15T20:00:00", None, "2026-12-16T08:00:00.000Z"),
        ("2026-12-15 20:00", "Nowhere/At_All", "2026-12-16T08:00:00.000Z"),
        ("2026-12-15", "Europe/Berlin", "2026-12-15T22:59:59.999Z"),
        ("2026-12-15", "../etc/passwd", "2026-12-16T11:59:59.999Z"),
        # Free text is shown as it stands, and sent.
        ("2026-12-15 8:00 PM", None, None),
        ("tomorrow", "UTC", None),
        ("", None, None),
    ],
)
def test_the_latest_moment_that_a_showtime_can_mean(text: str, zone: str | None, latest: str | None) -> None:
    found = latest_meaning(text, zone)
    assert (found and iso(found)) == latest
