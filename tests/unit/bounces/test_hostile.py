"""The parser with hostile input: it returns in time and raises nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.bounces.parse import parse
from app.bounces.reading import MAX_BYTES
from app.bounces.report import Bounce, NoBounce, OtherMail

FILES = sorted((Path(__file__).parent / "corpus").glob("*.eml"))

#: Fragments that break parsers.
SHARP = (
    b"\x00", b"\xff", b"\n\n", b"--=_report", b"--=_report--", b"Content-Type: message/rfc822\n\n",
    b"Content-Transfer-Encoding: base64\n", b"charset=punycode", b"charset=\"\xe2\"", b"=?utf-8?b?///?=",
    b"Final-Recipient: ;;;;", b"5.1.1", b"<@>", b";" * 50, b"\r", b"boundary=\"\"", b"rfc822;" * 40,
)  # fmt: skip


@given(raw=st.binary(max_size=2_000))
@settings(max_examples=150, deadline=None)
def test_any_bytes_get_a_verdict(raw: bytes) -> None:
    assert isinstance(parse(raw), Bounce | NoBounce)


@given(seed=st.integers(0, 2**32))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_broken_reports_get_a_verdict(seed: int) -> None:
    draw = random.Random(seed)  # noqa: S311 - no secret
    raw = bytearray(draw.choice(FILES).read_bytes())
    for _ in range(draw.randint(1, 12)):
        at = draw.randrange(len(raw))
        match draw.randrange(4):
            case 0:
                raw[at:at] = draw.choice(SHARP)
            case 1:
                del raw[at : at + draw.randint(1, 80)]
            case 2:
                raw[at:at] = raw[at // 2 : at]
            case _:
                raw[at] = draw.randrange(256)
    found = parse(bytes(raw))
    assert isinstance(found, NoBounce) or (len(found.recipients) <= 10 and len(found.reply) <= 500)


def nested(depth: int) -> bytes:
    heads = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number)
        for number in range(depth)
    )
    return b"From: MAILER-DAEMON@example.com\n" + heads + b"\n550 no such user\n"


FAILURE = b"From: postmaster@example.com\nSubject: failure notice\n\n"
PAGE = b"From: postmaster@example.com\nSubject: failure notice\nContent-Type: text/html\n\n"

HOSTILE = {
    "nothing": b"",
    "deeply nested": nested(5_000),
    "messages in messages": b"Content-Type: message/rfc822\n\n" * 20_000,
    "as deep as is read": nested(38),
    "one long line": FAILURE + b"a" * MAX_BYTES,
    "many addresses": FAILURE + b"<a@b.example.com> " * 25_000,
    "almost an address": FAILURE + b"a.b-c" * 90_000,
    "open tags": PAGE + b"<style " * 60_000,
    "open tags with brackets": PAGE + b"<" * 400_000,
    "many headers": b"X-A: b\n" * 60_000,
    "long header": b"Subject: " + b"=?utf-8?q?a?= " * 30_000,
    "words of failure": FAILURE + b"user mailbox account recipient " * 15_000,
    "quadratic charset": b"Content-Type: text/plain; charset=punycode\n\n" + b"a" * 300_000 + b"-99999",
    "blank lines": FAILURE + b"\n> " * 150_000,
    "many blocks": b"Content-Type: multipart/report; boundary=b\n\n--b\n"
    + b"Content-Type: message/delivery-status\n\n"
    + b"Final-Recipient: rfc822; a@example.com\nAction: failed\n\n" * 8_000,
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_input_is_read_in_time(name: str) -> None:
    started = time.process_time()
    assert isinstance(parse(HOSTILE[name]), Bounce | NoBounce)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("name", ["deeply nested", "messages in messages"])
def test_deeper_nesting_than_in_any_report_is_ignored(name: str) -> None:
    assert parse(HOSTILE[name]) == NoBounce(OtherMail.MALFORMED)
