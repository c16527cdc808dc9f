"""Lets Dramatiq consume plain JSON events that any service publishes, beside its own messages."""

from __future__ import annotations

import json
import time
from typing import Any

from dramatiq.encoder import JSONEncoder, MessageData
from dramatiq.errors import DecodeError
from dramatiq.message import generate_unique_id

from app.messaging.queues import NOTIFY

#: Bytes of an event. A real one has about one kilobyte; MongoDB would take 16 MiB, a mail far less.
LARGEST_BODY = 262_144


def event_message(event: dict[str, Any]) -> MessageData:
    """The Dramatiq message that hands `event` to the actor `notify`; its id is the event's, where it has one.

    The queue's name is left empty: it is the one the message is consumed from or enqueued to.
    """
    event_id = event.get("event_id")
    return {
        "queue_name": "",
        "actor_name": NOTIFY,
        "args": [event],
        "kwargs": {},
        "options": {},
        "message_id": event_id if isinstance(event_id, str) and event_id else generate_unique_id(),
        "message_timestamp": int(time.time() * 1000),
    }


class EventEncoder(JSONEncoder):
    """Dramatiq's JSON encoder, which also takes a bare event for a message to `notify`."""

    def decode(self, data: bytes) -> MessageData:
        """Decode a message or an event.

        Raises:
            DecodeError: not UTF-8, not JSON, not an object with an `event_type`, or an event that is too
                large: Dramatiq moves the body, untouched, to the queue's dead letters.
        """
        try:
            decoded: Any = super().decode(data)
        except (ValueError, RecursionError) as error:  # a number of 5 000 digits, ten thousand brackets
            raise DecodeError(f"JSON that can't be read: {error}", data, error) from None
        if isinstance(decoded, dict) and "actor_name" in decoded and "queue_name" in decoded:
            return decoded
        if not isinstance(decoded, dict) or not isinstance(decoded.get("event_type"), str):
            raise DecodeError("neither a Dramatiq message nor an event with an event_type", data, None)
        if len(data) > LARGEST_BODY:
            raise DecodeError(f"an event of more than {LARGEST_BODY} bytes", data, None)
        return event_message(decoded)


def dumps(value: Any) -> str:
    """`value` as compact JSON, as it goes on the wire."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
