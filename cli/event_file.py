"""Read, decode, and validate an operator's event file, like the worker."""

from __future__ import annotations

from typing import IO, Any

from app.events.catalog import check_event
from app.events.decode import MAX_EVENT_BYTES, decode_event
from app.events.remarks import remarks
from app.events.schemas import without_nulls


def read_event(file: IO[bytes]) -> dict[str, Any]:
    """Return the event in a file, with its nulls.

    Raises:
        InvalidEvent: the worker would refuse it.
    """
    event = decode_event(file.read(MAX_EVENT_BYTES + 1))
    check_event(event)
    return event


def warnings(event: dict[str, Any]) -> list[str]:
    """Return warnings about a valid event, such as unknown time zones and unreachable phone numbers."""
    from actors.channels.sms.numbers import e164
    from actors.errors import PermanentFailure

    known = without_nulls(event)
    found = remarks(known)
    if known.get("user_phone"):
        try:
            e164(known["user_phone"])
        except PermanentFailure as error:
            found.append(f"user_phone: {error}")
    return found
