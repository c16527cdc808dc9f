"""Calendar files as other programs read them: ical.js and vobject, for every zone, year after year."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest
import vobject
from babel import Locale

from actors.channels.email.conventions import Conventions
from actors.channels.email.invitation import invitation
from app.events.samples import sample

YEARS = range(2026, 2038)
ORGANIZER = ("MovieApp", "tickets@movieapp.example.com")
EVENT = sample("booking.confirmed")

#: Prints the start, the end, and the sequence of each file in the folder.
READ = """
import ICAL from "ical.js";
import { readdirSync, readFileSync } from "node:fs";
const found = {};
for (const name of readdirSync(process.argv[2])) {
  const calendar = new ICAL.Component(ICAL.parse(readFileSync(`${process.argv[2]}/${name}`, "utf-8")));
  const component = calendar.getFirstSubcomponent("vevent");
  const event = new ICAL.Event(component);
  found[name] = {
    method: calendar.getFirstPropertyValue("method"),
    uid: event.uid,
    sequence: event.sequence,
    status: component.getFirstPropertyValue("status"),
    organizer: event.organizer,
    attendees: event.attendees.map((attendee) => attendee.getFirstValue()),
    start: event.startDate.toJSDate().toISOString(),
    end: event.endDate.toJSDate().toISOString(),
  };
}
console.log(JSON.stringify(found));
"""


def calendar(template: str, event: dict[str, Any]) -> bytes:
    conventions = Conventions(Locale("en"), event.get("timezone") or "", "", "USD")
    file = invitation(template, event, conventions, ORGANIZER)
    assert file
    return file.ics


def showings() -> Iterator[tuple[str, datetime, dict[str, Any]]]:
    """A name, the instant that zoneinfo gives, and the event: winter and summer, every zone and year."""
    for zone in sorted(available_timezones() - {"localtime", "Factory"}):
        for year in YEARS:
            for month, day in ((1, 15), (7, 15)):
                local = datetime(year, month, day, 20, 30)
                instant = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
                event = EVENT | {"showtime": local.isoformat(), "timezone": zone}
                yield f"{zone.replace('/', '.')}.{year}.{month}.ics", instant, event


@pytest.fixture(scope="module")
def read(npm_install: Callable[[str, str], Path]) -> Callable[[Path], dict[str, Any]]:
    """What ical.js makes of the files in a folder."""
    modules = npm_install("ical.js", "^2.2.0")
    (modules / "read.mjs").write_text(READ)

    def read(folder: Path) -> dict[str, Any]:
        command = ["node", str(modules / "read.mjs"), str(folder)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=100, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return read


def test_every_zone_and_year_is_the_instant_that_zoneinfo_gives(
    read: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    expected = {}
    for name, instant, event in showings():
        ics = calendar("booking_confirmation", event)
        (tmp_path / name).write_bytes(ics)
        expected[name] = instant
    found = read(tmp_path)
    assert len(found) == len(expected) > 14_000
    length = timedelta(minutes=EVENT["duration_minutes"])
    for name, instant in expected.items():
        assert datetime.fromisoformat(found[name]["start"]) == instant, name
        assert datetime.fromisoformat(found[name]["end"]) == instant + length, name
    for name in list(expected)[:: len(expected) // 200]:
        entry = vobject.readOne((tmp_path / name).read_text()).vevent
        assert entry.dtstart.value == expected[name]
        assert entry.dtend.value == expected[name] + length


def test_confirm_update_cancel_are_three_states_of_one_entry(
    read: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    same = {"timestamp": "2026-12-03T09:00:00Z", "showtime": EVENT["showtime"]}
    states = ("confirmation", "update", "cancellation")
    for state in states:
        (tmp_path / state).write_bytes(calendar(f"booking_{state}", EVENT | same))
    found = read(tmp_path)
    assert [found[state]["method"] for state in states] == ["REQUEST", "REQUEST", "CANCEL"]
    assert [found[state]["status"] for state in states] == ["CONFIRMED", "CONFIRMED", "CANCELLED"]
    sequences = [found[state]["sequence"] for state in states]
    assert sequences == sorted(set(sequences))
    for field in ("uid", "organizer", "attendees", "start", "end"):
        assert len({str(found[state][field]) for state in states}) == 1
    for state in states:
        entry = vobject.readOne((tmp_path / state).read_text()).vevent
        assert entry.attendee.value == f"mailto:{EVENT['user_email']}"
        assert entry.organizer.value == f"mailto:{ORGANIZER[1]}"
