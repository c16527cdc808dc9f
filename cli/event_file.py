"""An event in a file that an operator gives, decoded and validated as the worker does it."""

from __future__ import annotations

from typing import IO, Any

from app.events.catalog import check_event
from app.events.decode import MAX_EVENT_BYTES, decode_event


def read_event(file: IO[bytes]) -> dict[str, Any]:
    """Return the event in a file, with its nulls.

    Raises:
        InvalidEvent: the worker would refuse it.
    """
    event = decode_event(file.read(MAX_EVENT_BYTES + 1))
    check_event(event)
    return event
