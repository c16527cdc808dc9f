"""Decode events from bytes, for the worker, the command line, and the tests.

The decoder refuses content that can't be stored, compared, or shown, anywhere in the document, before the
event's type is read.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Size limit of an event. Real events have about one kilobyte; MongoDB allows 16 MiB, and a mail much less.
MAX_EVENT_BYTES = 262_144

#: Maximum nesting of objects and lists. Real events have three; MongoDB allows 100.
MAX_DEPTH = 32

#: Integers that BSON and most languages store exactly (https://bsonspec.org/spec.html).
MIN_NUMBER, MAX_NUMBER = -(2**63), 2**63 - 1

#: Names of members that can be stored: BSON ends a name at NUL, and `$` starts MongoDB's own names (`$ref` is
#: read back as another type).
NAME_PATTERN = r"^(?!\$)[^\u0000\ud800-\udfff]*$"

_NAME = re.compile(NAME_PATTERN, re.DOTALL)
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

#: Digits of the longest number within 64 bits, its sign included. `int` refuses a few thousand.
_MAX_DIGITS = 20


class InvalidEvent(Exception):
    """An event that can never be handled. The message gives the reason and every invalid field."""


def decode_event(body: bytes) -> dict[str, Any]:
    """Decode one event from JSON in UTF-8.

    Half of a surrogate pair in a string, left by a program that cut an emoji in two, becomes U+FFFD, because
    the text is still readable. An id that contains it is refused by its schema.

    Args:
        body: the message's body, or a file's content.

    Raises:
        InvalidEvent: too large, not UTF-8, not JSON, not an object, nested too deeply, a repeated or unusable
            field name, or a number outside of 64 bits.
    """
    if len(body) > MAX_EVENT_BYTES:
        raise InvalidEvent(f"the body must have at most {MAX_EVENT_BYTES} bytes")
    try:
        event = _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidEvent(f"the body is not valid UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise InvalidEvent(f"the body is not valid JSON: {error.msg} (character {error.pos})") from None
    except RecursionError:
        raise InvalidEvent(_TOO_DEEP) from None
    if not isinstance(event, dict):
        raise InvalidEvent("the body must be a JSON object")
    checked: dict[str, Any] = _checked(event, "", 1)
    return checked


_TOO_DEEP = f"the body must not be nested deeper than {MAX_DEPTH} levels"


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        # Which of the two is used depends on the language (RFC 8259, section 4).
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise InvalidEvent(f"the field {shown_name(repeated)} must occur only once")
    return members


def _integer(digits: str) -> float:
    return int(digits) if len(digits) <= _MAX_DIGITS else math.inf


def _constant(name: str) -> float:
    raise InvalidEvent(f"the body is not valid JSON: {name} is not a JSON value")


_DECODER = json.JSONDecoder(object_pairs_hook=_members, parse_int=_integer, parse_constant=_constant)


def _checked(value: Any, path: str, depth: int) -> Any:
    """Return `value` with lone surrogates replaced; see `decode_event` for what is refused."""
    match value:
        case str():
            return value if value.isascii() else _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", value)
        case dict() | list() if depth > MAX_DEPTH:
            raise InvalidEvent(_TOO_DEEP)
        case dict():
            for name in value:
                if not _NAME.match(name):
                    raise InvalidEvent(
                        f"the field name {shown_name(path + name)} must not begin with $, "
                        "or contain NUL or unpaired surrogates"
                    )
            return {name: _checked(member, f"{path}{name}.", depth + 1) for name, member in value.items()}
        case list():
            return [_checked(item, path, depth + 1) for item in value]
        case int() | float() if not MIN_NUMBER <= value <= MAX_NUMBER:
            raise InvalidEvent(f"{shown_name(path.removesuffix('.'))}: the number must fit in 64 bits")
        case _:
            return value


def shown_name(name: str) -> str:
    """Return a field's name for a log line or terminal: short and without control characters."""
    name = name if len(name) <= 80 else name[:80] + "…"
    return name if name.isprintable() else ascii(name)
