"""Decode events from bytes: what is refused before the type is read."""

from __future__ import annotations

import json

import bson
import pytest
from hypothesis import given, settings, strategies

from app.events.decode import MAX_DEPTH, MAX_EVENT_BYTES, InvalidEvent, decode_event

UNUSABLE = "must not begin with $, or contain NUL or unpaired surrogates"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "the body is not valid JSON: Expecting value (character 0)"),
        (b"hello", "the body is not valid JSON: Expecting value (character 0)"),
        (b'{"a":1} x', "the body is not valid JSON: Extra data (character 8)"),
        (b"\xef\xbb\xbf{}", "the body is not valid JSON: Expecting value (character 0)"),
        (b"\xff\xfe{", "the body is not valid UTF-8 at byte 0"),
        (b'{"a":"\xed\xa0\xbc"}', "the body is not valid UTF-8 at byte 6"),
        (b'{"a":"\x00"}', "the body is not valid JSON: Invalid control character at (character 6)"),
        (b"[]", "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (b'{"amount":1,"amount":2}', "the field amount must occur only once"),
        (b'{"x":[{"a":1,"b":2,"a":1}]}', "the field a must occur only once"),
        (b'{"a":NaN}', "the body is not valid JSON: NaN is not a JSON value"),
        (b'{"a":-Infinity}', "the body is not valid JSON: -Infinity is not a JSON value"),
        (b'{"a":9223372036854775808}', "a: the number must fit in 64 bits"),
        (b'{"a":[{"b":-9223372036854775809}]}', "a.b: the number must fit in 64 bits"),
        (b'{"a":123456789012345678901234567890}', "a: the number must fit in 64 bits"),
        (b'{"a":' + b"9" * 5_000 + b"}", "a: the number must fit in 64 bits"),
        (b'{"a":1e400}', "a: the number must fit in 64 bits"),
        (b'{"a":1e19}', "a: the number must fit in 64 bits"),
        (b'{"$ref":"x","$id":1}', f"the field name $ref {UNUSABLE}"),
        (b'{"a":{"b\\u0000":1}}', f"the field name 'a.b\\x00' {UNUSABLE}"),
        (b'{"a\\ud83c":1}', f"the field name 'a\\ud83c' {UNUSABLE}"),
        (b'{"a\\u001b[2J\\u0000":1}', f"the field name 'a\\x1b[2J\\x00' {UNUSABLE}"),
        (b"[" * 100_000, "the body must not be nested deeper than 32 levels"),
        (b'{"a":' + b"[" * 40 + b"]" * 40 + b"}", "the body must not be nested deeper than 32 levels"),
        (b" " * (MAX_EVENT_BYTES + 1), "the body must have at most 262144 bytes"),
    ],
)
def test_an_invalid_event_is_refused_with_the_reason(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidEvent) as refused:
        decode_event(body)
    assert str(refused.value) == reason


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"a": 2**63 - 1, "b": -(2**63), "c": 1e18, "d": 0.1, "e": True, "f": None},
        {"NUL in a value": "a\0b", "dots.in.names": 1, "": 1, "price$": 1, "line\nbreak": 1},
        {"emoji": "🎬 \ud83c\udfac".encode("utf-16", "surrogatepass").decode("utf-16")},
    ],
)
def test_an_event_is_decoded_unchanged(event: dict[str, object]) -> None:
    assert decode_event(json.dumps(event).encode()) == event
    assert decode_event(json.dumps(event, ensure_ascii=False).encode()) == event


def test_half_of_a_surrogate_pair_becomes_the_replacement_character() -> None:
    event = decode_event(b'{"movie_title":"\\ud83c x","seats":["\\udfac","\\ud83c\\udfac"]}')
    assert event == {
        "movie_title": "\N{REPLACEMENT CHARACTER} x",
        "seats": ["\N{REPLACEMENT CHARACTER}", "🎬"],
    }


def test_an_event_at_the_depth_limit_is_accepted_and_a_deeper_one_refused() -> None:
    def nested(levels: int) -> bytes:
        return b'{"a":' * levels + b"1" + b"}" * levels

    decode_event(nested(MAX_DEPTH))
    with pytest.raises(InvalidEvent, match="nested deeper than 32 levels"):
        decode_event(nested(MAX_DEPTH + 1))


json_values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**70), 2**70)
    | strategies.floats(allow_nan=False)
    | strategies.text(strategies.characters(), max_size=8),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(strategies.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(strategies.dictionaries(strategies.text(strategies.characters(), max_size=5), json_values, max_size=5))
def test_every_accepted_event_can_be_stored_and_sent(event: dict[str, object]) -> None:
    try:
        decoded = decode_event(json.dumps(event).encode())
    except InvalidEvent as refused:
        assert str(refused).isprintable()
    else:
        assert bson.decode(bson.encode({"event_data": decoded})) == {"event_data": decoded}
        json.dumps(decoded, ensure_ascii=False).encode()
