"""Times and time zones as events give them: ISO 8601, RFC 9557, IANA's and Windows' names of zones.

A zone that can't be resolved is never replaced by another one: the time is then shown as it stands.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from functools import cache, lru_cache
from zoneinfo import ZoneInfo, available_timezones

from tzlocal.windows_tz import win_tz

#: Names in the time zone database that are not places: the machine's own zone, and "not set".
_NOT_LOCATIONS = {"localtime", "Factory"}

_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d):?(\d\d)")

#: RFC 9557: a timestamp, then tags in brackets; `!` marks those that must be understood.
_TAGGED = re.compile(r"([^\[\]]+?)((?:\[!?[^\[\]]+\])+)")
_TAG = re.compile(r"\[(!?)([^\[\]]+)\]")

#: Calendars whose dates are written like ISO 8601's.
_KNOWN_TAGS = {"u-ca=iso8601", "u-ca=gregory"}


@dataclass(frozen=True)
class Time:
    """A time in an event.

    Attributes:
        text: as received, without the RFC 9557 tags that were understood.
        day: set for a date without a time.
        local: set if it is a date with a time; aware if its offset or its zone is known.
        zone: its time zone; None if only an offset, or nothing, is known.
        remarks: assumptions that were made, and values that could not be resolved.
    """

    text: str
    day: date | None = None
    local: datetime | None = None
    zone: tzinfo | None = None
    remarks: tuple[str, ...] = field(default=())

    @property
    def instant(self) -> datetime | None:
        """Return the point in time, with the zone of `local`; None for a date, for text, and without a
        zone."""
        return self.local if self.local is not None and self.local.tzinfo is not None else None


@lru_cache(maxsize=512)
def resolve_zone(name: str) -> tzinfo | None:
    """Return the time zone called `name`; None if there is none.

    Args:
        name: IANA's, deprecated ones included, in any case; Windows' (CLDR's mapping for the whole world); or
            an offset such as `+02:00`.
    """
    name = name.strip()
    key = _iana_names().get(name.casefold()) or _windows_names().get(name.casefold())
    if key:
        return ZoneInfo(key)
    if offset := _OFFSET.fullmatch(name):
        sign, hours, minutes = offset.groups()
        distance = timedelta(hours=int(hours), minutes=int(minutes))
        if distance < timedelta(hours=24):
            return timezone(distance if sign == "+" else -distance)
    return None


@cache
def _iana_names() -> dict[str, str]:
    return {name.casefold(): name for name in available_timezones() - _NOT_LOCATIONS}


@cache
def _windows_names() -> dict[str, str]:
    # tzlocal includes CLDR's windowsZones.xml; Babel does not.
    known = available_timezones()
    return {name.casefold(): zone for name, zone in win_tz.items() if zone in known}


def read_time(text: str, zone: str | None = None, default_zone: str = "") -> Time:
    """Read one time of an event.

    Args:
        text: ISO 8601 or RFC 9557; anything else is free text.
        zone: the event's `timezone`. Applies to a time without an offset, and is the zone in which others are
        shown.
        default_zone: for events that name no zone, IANA; "" for none.
    """
    named = zone.strip() if zone else ""
    tz = resolve_zone(named or default_zone)
    remarks = []
    if named and tz is None:
        remarks.append(_unknown(named))
    bare, tag_zone, understood = _untagged(text)
    if not understood:
        return Time(text, remarks=(*remarks, "a tag in brackets is unknown, so the text is shown unchanged"))
    if tag_zone is not None:
        tz = resolve_zone(tag_zone)
        if tz is None:
            remarks.append(_unknown(tag_zone))
    try:
        return Time(bare, day=date.fromisoformat(bare), remarks=tuple(remarks))
    except ValueError:
        pass
    try:
        local = datetime.fromisoformat(bare)
        if local.tzinfo is not None:
            local.astimezone(UTC)  # fails outside the years 1 to 9999
            if tz is not None:
                return Time(bare, local=local.astimezone(tz), zone=tz, remarks=tuple(remarks))
        elif tz is not None:
            local, decision = _resolve_local(local, tz)
            return Time(bare, local=local, zone=tz, remarks=(*remarks, *decision))
    except (ValueError, OverflowError):
        return Time(text, remarks=tuple(remarks))
    return Time(bare, local=local, remarks=tuple(remarks))


def _unknown(zone: str) -> str:
    return f"the unknown time zone {zone[:64]!a} is ignored"


def _untagged(text: str) -> tuple[str, str | None, bool]:
    """Split off the tags. Return the time, the zone they name, and whether every critical tag was
    understood.
    """
    tagged = _TAGGED.fullmatch(text.strip())
    if tagged is None:
        return text, None, True
    zone, understood = None, True
    for position, (critical, tag) in enumerate(_TAG.findall(tagged[2])):
        if "=" in tag:
            understood &= not critical or tag in _KNOWN_TAGS
        elif position == 0:
            zone = tag
            understood &= not critical or _agrees(tagged[1], tag)
        else:
            understood = False
    return tagged[1], zone, understood


def _agrees(timestamp: str, zone: str) -> bool:
    """Return whether a time's offset is the one of its zone, as `!` requires (RFC 9557, 3.4)."""
    tz = resolve_zone(zone)
    try:
        moment = datetime.fromisoformat(timestamp)
        return tz is not None and (
            moment.tzinfo is None
            or timestamp[-1:] in "Zz"
            or moment.utcoffset() == moment.astimezone(tz).utcoffset()
        )
    except (ValueError, OverflowError):
        return False


def _resolve_local(local: datetime, tz: tzinfo) -> tuple[datetime, tuple[str, ...]]:
    """A local time in a zone. Clocks skip an hour in spring and repeat one in autumn."""
    moment = local.replace(tzinfo=tz, fold=0)
    shown = moment.astimezone(UTC).astimezone(tz)
    if shown.replace(tzinfo=None) != local:
        return shown, (f"the clock skips this local time, so {shown:%H:%M} is used",)
    if moment.utcoffset() != moment.replace(fold=1).utcoffset():
        return moment, ("the clock repeats this local time, so the first occurrence is used",)
    return moment, ()
