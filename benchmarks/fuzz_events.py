"""Send generated events through decoding, validation, recording, rendering, and composition.

    python -m benchmarks.fuzz_events 100000

Prints how many events were accepted and refused, and the time they took. Fails on any exception other than a
refusal.
"""

from __future__ import annotations

import gc
import json
import random
import string
import sys
import time
from datetime import UTC, datetime
from statistics import quantiles
from typing import Any

import bson

from actors.channels.email.compose import compose
from actors.channels.email.render import Brand, Renderer
from actors.channels.sms.texts import Texts
from app.events.catalog import CATALOG, check_event
from app.events.decode import InvalidEvent, decode_event
from app.events.remarks import remarks
from app.events.samples import sample, sample_names

#: Default number of events, and the seed, which makes every run use the same events.
_COUNT, _SEED = 2_000, 20_261_201

_SENT_AT = datetime(2026, 12, 1, tzinfo=UTC)

#: Values that have caused bugs.
_HOSTILE: tuple[Any, ...] = (
    None,
    "",
    " \n",
    "\x00",
    "\ud83c x",
    "\u202eevil",
    "👨‍👩‍👧 🇩🇪",
    "Ame\u0301lie",
    "العربية",
    "千と千尋",
    "x" * 500,
    "<script>alert(1)</script>",
    "{{ 7*7 }} %(x)s {0}",
    "=?utf-8?q?=0D=0ABcc=3A_x?=",
    "a@example.com, b@example.com",
    "用户@例え.jp",
    "abc..def@docomo.ne.jp",
    "840",
    "usd",
    "JPY",
    "Eastern Standard Time",
    "Mars/Base",
    "../../etc/passwd",
    "2036-03-09T02:30",
    "2036-12-15T20:00:00-05:00[America/New_York]",
    "9999-12-31T23:59:59Z",
    "0001-01-01T00:00:00+23:59",
    "2036-12-15",
    "https://example.com/?a=<b>",
    "javascript:alert(1)",
    0,
    -1,
    1e12,
    0.1 + 0.2,
    2**63,
    10**30,
    True,
    [],
    [None, "A1"],
    ["A1"] * 200,
    {},
    {"$ref": 1},
    [{"seat": "A1", "code": "8KQ2"}] * 30,
    [{"showtime": "8 PM"}],
)


def _value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(8 if depth < 4 else 4)
    if kind < 4:
        return rng.choice(_HOSTILE)
    if kind == 4:
        codes = (rng.choice((rng.randrange(128), rng.randrange(0x110000))) for _ in range(rng.randrange(40)))
        return "".join(map(chr, codes))
    if kind == 5:
        return rng.choice((rng.uniform(-1e3, 1e6), rng.randrange(-(2**70), 2**70)))
    if kind == 6:
        return [_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {rng.choice(string.ascii_letters): _value(rng, depth + 1) for _ in range(rng.randrange(4))}


def bodies(count: int, seed: int = _SEED) -> Any:
    """Yield samples with up to four changed fields. One in ten also has corrupted bytes."""
    rng = random.Random(seed)  # noqa: S311 - reproducible, not secret
    names = sample_names()
    samples = {name: sample(name) for name in names}
    for _ in range(count):
        event = dict(samples[rng.choice(names)])
        fields = [*CATALOG[event["event_type"]].schema.fields, "extra", "seats", "code"]
        for name in rng.sample(fields, rng.choice((0, 1, 1, 2, 4))):
            if rng.random() < 0.1:
                event.pop(name, None)
            else:
                event[name] = _value(rng)
        body = json.dumps(event).encode()
        if rng.random() < 0.1:
            cut = rng.randrange(len(body))
            body = body[:cut] + rng.randbytes(rng.randrange(20)) + body[cut + rng.randrange(3) :]
        yield body


class Pipeline:
    """The worker's steps for an event, except storing and sending it."""

    def __init__(self) -> None:
        self._renderer = Renderer(Brand("MovieApp", "tickets@movieapp.example.com"), "USD", "Europe/Vienna")
        self._texts = Texts("MovieApp", "USD", "Europe/Vienna")

    def __call__(self, body: bytes) -> None:
        """Handle one body.

        Raises:
            InvalidEvent: the event is refused. Nothing else is raised.
        """
        event, kind = check_event(decode_event(body))
        bson.decode(bson.encode({"event_data": event}))
        remarks(event)
        if kind.template is None:
            return
        rendered = self._renderer.render(kind.template, event)
        if event.get("user_email"):
            compose(
                rendered,
                recipient=event["user_email"],
                sender=("MovieApp", "tickets@movieapp.example.com"),
                message_id="<a@movieapp.example.com>",
                date=_SENT_AT,
            ).as_bytes()
        self._texts.write(event["event_type"], event)


def run(count: int) -> tuple[int, list[float]]:
    """Handle `count` bodies. Return the number of accepted ones, and the milliseconds that each took."""
    pipeline = Pipeline()
    for name in sample_names():
        pipeline(json.dumps(sample(name)).encode())  # loads templates and tables
    taken, took = 0, []
    # Otherwise, a collection of all objects of this process would count as the time of one event.
    gc.collect()
    gc.freeze()
    for body in bodies(count):
        start = time.thread_time()  # this thread's time only, without other processes
        try:
            pipeline(body)
            taken += 1
        except InvalidEvent:
            pass
        except Exception:
            print(f"not a verdict: {body!r}", file=sys.stderr)
            raise
        took.append((time.thread_time() - start) * 1000)
    gc.unfreeze()
    return taken, took


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else _COUNT
    accepted, milliseconds = run(total)
    cuts = quantiles(milliseconds, n=1000)
    print(
        f"{total} bodies: {accepted} taken, {total - accepted} refused; "
        f"median {cuts[499]:.2f} ms, 99 % {cuts[989]:.2f} ms, 99.9 % {cuts[998]:.2f} ms, "
        f"longest {max(milliseconds):.1f} ms; {sum(ms > 50 for ms in milliseconds)} over 50 ms"
    )
