"""An event in a file that an operator gives, read and checked as the worker would."""

from __future__ import annotations

import json
from typing import IO, Any

from app.events.catalog import check_event
from app.events.schemas import InvalidEvent
from app.messaging.encoder import LARGEST_BODY


def read_event(file: IO[bytes]) -> dict[str, Any]:
    """The event in a file, as it stands.

    Raises:
        InvalidEvent: it would be refused.
    """
    body = file.read(LARGEST_BODY + 1)
    if len(body) > LARGEST_BODY:
        raise InvalidEvent(f"it has more than {LARGEST_BODY} bytes")
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidEvent("it is no JSON") from None
    if not isinstance(event, dict):
        raise InvalidEvent("it is no JSON object")
    check_event(event)
    return event
