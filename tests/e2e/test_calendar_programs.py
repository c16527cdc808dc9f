"""Calendar files read by other programs: ical.js and vobject, for every zone and year, and khal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
    """Name, expected instant, and event: winter and summer, for every zone and year."""
    for zone in sorted(available_timezones() - {"localtime", "Factory"}):
        for year in YEARS:
            for month, day in ((1, 15), (7, 15)):
                local = datetime(year, month, day, 20, 30)
                instant = local.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
                event = EVENT | {"showtime": local.isoformat(), "timezone": zone}
                yield f"{zone.replace('/', '.')}.{year}.{month}.ics", instant, event


@pytest.fixture(scope="module")
def read(npm_install: Callable[[str, str], Path]) -> Callable[[Path], dict[str, Any]]:
    """Parse the files in a folder with ical.js."""
    modules = npm_install("ical.js", "^2.2.0")
    (modules / "read.mjs").write_text(READ)

    def read(folder: Path) -> dict[str, Any]:
        command = ["node", str(modules / "read.mjs"), str(folder)]
        done = subprocess.run(command, capture_output=True, check=True, timeout=100, text=True)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return read


def test_every_zone_and_year_converts_to_the_same_instant_as_zoneinfo(
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


def test_confirmation_update_and_cancellation_change_one_calendar_entry(
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


#: khal's configuration: one calendar in a folder, and times in UTC.
KHAL = """
[calendars]
[[cinema]]
path = {folder}/calendar
[locale]
local_timezone = UTC
default_timezone = UTC
timeformat = %H:%M
dateformat = %Y-%m-%d
longdateformat = %Y-%m-%d
datetimeformat = %Y-%m-%dT%H:%M
longdatetimeformat = %Y-%m-%dT%H:%M
[sqlite]
path = {folder}/khal.db
"""


def test_khal_shows_a_booking_from_confirmation_to_cancellation(tmp_path: Path) -> None:
    (tmp_path / "calendar").mkdir()
    (tmp_path / "config").write_text(KHAL.format(folder=tmp_path))

    def khal(*arguments: str) -> str:
        command = [sys.executable, "-m", "khal", "-c", str(tmp_path / "config"), *arguments]
        environment = os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
        return subprocess.run(
            command, capture_output=True, check=True, timeout=60, text=True, env=environment
        ).stdout

    moved = {"showtime": "2036-12-17T21:00:00-05:00"}
    states = [("confirmation", {}), ("update", moved), ("cancellation", moved)]
    seen = []
    for minute, (state, changes) in enumerate(states):
        file = tmp_path / f"{state}.ics"
        event = EVENT | {"timestamp": f"2026-12-03T09:0{minute}:00Z"} | changes
        file.write_bytes(calendar(f"booking_{state}", event))
        khal("import", "--batch", str(file))
        shown = khal(
            "list", "--day-format", "", "--format", "{uid} {start-long} {status}", "2036-12-01", "31d"
        )
        seen.append(shown.split())
    assert [entry[1:] for entry in seen] == [
        ["2036-12-16T01:00", "CONFIRMED"],
        ["2036-12-18T02:00", "CONFIRMED"],
        ["2036-12-18T02:00", "CANCELLED"],
    ]
    assert len({entry[0] for entry in seen}) == 1
