"""Hostile message bodies that every tool must handle."""

from __future__ import annotations

import json
from typing import Any

from dramatiq import Message

from app.events.samples import sample

#: Ten years ahead, in milliseconds since 1970.
_ETA = 2_100_000_000_000

_EVENT: dict[str, Any] = sample("booking.confirmed")


def _event(**fields: Any) -> bytes:
    return json.dumps(_EVENT | fields).encode()


def _envelope(actor: str = "notify", *args: Any, **options: Any) -> bytes:
    return Message("notification.booking_events", actor, args or (_EVENT,), {}, options).encode()


#: Name → body. Each is published under the routing key `booking.confirmed` and must end as a dead letter.
CORPUS: dict[str, bytes] = {
    "empty": b"",
    "text": b"no json",
    "list": b"[1, 2]",
    "utf-16": '{"event_type": "booking.confirmed"}'.encode("utf-16"),
    "invalid utf-8": b'{"event_type": "booking.confirmed", "x": "\xff\xed\xa0\xbc"}',
    "NUL bytes": b"\0" * 64,
    "terminal escapes": b'{"event_type": "booking.confirmed", "event_id": "\x1b]0;taken\x07\x1b[2J"}',
    "deep list": b"[" * 20_000,
    "deep event": b'{"event_type": "booking.confirmed", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "digits": b'{"event_type": "booking.confirmed", "x": ' + b"9" * 5_000 + b"}",
    "30 digits": _event(x=123456789012345678901234567890),
    "oversize": _event(x="x" * 300_000),
    "repeated field": b'{"event_type": "booking.confirmed", "event_type": "booking.confirmed"}',
    "type with escapes": _event(event_type="booking.\x1b[2J\u202e"),
    "fields of other types": _event(event_id=["a"], booking_id={"$where": "1"}, user_id=7, movie_title=[]),
    "markup": _event(event_id="<script>alert(1)</script>", showtime=None, booking_id="[red]x[/red]\r\n"),
    "field names": _event(**{"$where": 1, "a.b": 2, "\x1b[2J": 3}),
    "other type": _event(event_type="payment.success"),
    "no type": b'{"event_id": "evt_1"}',
    "envelope": _envelope(),
    "envelope in ten years": _envelope("notify", eta=_ETA),
    "envelope for another actor": _envelope("send_email", "6564f1c2a1b2c3d4e5f60718"),
    "envelope with a large event": _envelope("notify", _EVENT | {"x": "x" * 400_000}, eta=_ETA),
    "envelope with options": _envelope("notify", retries=1, max_retries=0, on_retry_exhausted="send_email"),
}

#: Bodies that a queue accepts or refuses by the schemas, and that tools must display safely in any case.
ODD: dict[str, bytes] = {
    "lone surrogate in the id": _event(event_id="evt_\ud800"),
    "control characters in the id": _event(event_id="evt_\x00\x1b[2J\u202e\u2028"),
}
