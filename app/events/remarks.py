"""Warnings about valid events: ambiguous times, unknown zones, and lost characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.events.catalog import CATALOG
from app.events.fields import Moment
from app.events.times import read_time


def remarks(event: Mapping[str, Any], default_zone: str = "") -> list[str]:
    """Return warnings about unknown zones, times that the clock skips or repeats, and lost characters.

    Args:
        event: a valid event.
        default_zone: IANA zone for events without one.
    """
    return list(dict.fromkeys(_remarks(event, default_zone)))


def _remarks(event: Mapping[str, Any], default_zone: str) -> Iterator[str]:
    for name, field in CATALOG[event["event_type"]].schema.fields.items():
        value = event.get(name)
        if not isinstance(value, str):
            continue
        if "\N{REPLACEMENT CHARACTER}" in value:
            yield f"{name}: characters were lost before movieapp received the event"
        if isinstance(field, Moment):
            time = read_time(value, event.get("timezone"), default_zone)
            yield from (f"{name}: {remark}" for remark in time.remarks)
