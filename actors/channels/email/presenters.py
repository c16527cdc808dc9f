"""Functions that make one kind of event value ready to print.

Each gives None for a value not worth showing, and raises `Unpresentable` for one of the wrong kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from marshmallow import ValidationError
from marshmallow.fields import Boolean

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.wording import TELLTALE
from app.text import ID_PATTERN, one_line

Presenter = Callable[[Conventions, Any], Any]

#: Beyond these a value is noise, or an attack on the mail's weight.
_MAX_TEXT_LENGTH = 300
_MAX_URL_LENGTH = 2_000
_MAX_SEATS = 100
_MAX_RUNNING_TIME_MINUTES = 6_000

_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\"'<>\\`{}|^]")
_BOOLEAN = Boolean()

#: What mail programs and phones turn into a link: a scheme, or a dot between a word and letters. Dots of
#: internationalized domain names count (RFC 3490, 3.1).
_SCHEME = re.compile(r"://")
_DOT = re.compile(r"(?<=\w)([.\u3002\uff0e\uff61])(?=[^\W\d_]{2})")

#: What no person is called, in a greeting.
_LINK = re.compile(r"://|@|\bwww\b|(?<=[^\W_]{3})[.\u3002\uff0e\uff61][^\W\d_]{2}", re.IGNORECASE)


def text(_: Conventions, value: Any) -> str:
    """Return a title or a sentence on one line, written so that mail programs make no link of it.

    Mail programs and phones turn `www.example.com` into a link, also in text that a stranger has written. A
    blank after the dot, and before the slashes of a scheme, prevents it and reads the same.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unpresentable("is not text")
    return _DOT.sub(r"\1 ", _SCHEME.sub(": //", one_line(str(value), _MAX_TEXT_LENGTH)))


def person(conventions: Conventions, value: Any) -> str | None:
    """A person's name; none if it looks like a link: who signs up with one has the mail sent to others."""
    shown = text(conventions, value)
    return None if _LINK.search(one_line(str(value), _MAX_TEXT_LENGTH)) else shown


def identifier(_: Conventions, value: Any) -> str:
    """An id, exactly as it is: people copy it, and a scanner at the door compares it."""
    if not isinstance(value, str):
        raise Unpresentable("is not an id")
    exact = len(value) <= _MAX_TEXT_LENGTH and re.search(ID_PATTERN, value)
    return value if exact else one_line(value, _MAX_TEXT_LENGTH)


def items(value: Any) -> list[Any]:
    """Return the members of a list, without nulls."""
    if not isinstance(value, list | tuple):
        raise Unpresentable("is not a list")
    return [item for item in value if item is not None]


def seats(conventions: Conventions, value: Any) -> list[str]:
    """Return the seats' names."""
    names = [text(conventions, seat) for seat in items(value)]
    rest = len(names) - _MAX_SEATS
    return [*names[:_MAX_SEATS], f"+{rest}"] if rest > 0 else names


def flag(_: Conventions, value: Any) -> bool:
    """Return a boolean, also from the words that the event's schema accepts for one."""
    try:
        return bool(_BOOLEAN.deserialize(value))
    except ValidationError:
        raise Unpresentable("is neither true nor false") from None


def url(_: Conventions, value: Any) -> str | None:
    """Return an http or https link; None for any other."""
    if not isinstance(value, str) or len(value) > _MAX_URL_LENGTH or _UNSAFE_IN_URL.search(value):
        return None
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return None
    # A user name before the host can make it look like another: https://bank.example@evil.example
    return value if parts.scheme in ("http", "https") and host and "@" not in parts.netloc else None


def picture(conventions: Conventions, value: Any) -> str | None:
    """Return a link to a picture. https only, because mail programs load it without a click."""
    link = url(conventions, value)
    return link if link and link.startswith("https://") else None


def minutes(_: Conventions, value: Any) -> str | None:
    """Return a running time in hours and minutes."""
    try:
        total = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unpresentable("is not a number of minutes") from None
    hours, rest = divmod(total, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (rest, "min")) if number]
    return " ".join(parts) if 0 < total < _MAX_RUNNING_TIME_MINUTES else None


def named(names: Mapping[str, str]) -> Presenter:
    """A code by its name in `names`; one that is not there in its own words."""

    def present(conventions: Conventions, value: Any) -> str:
        code = text(conventions, value)
        return names.get(code.lower()) or code.replace("_", " ")

    return present


def last_four(_: Conventions, value: Any) -> str | None:
    """Return the last four digits of a card. Anything else may be the whole number, and is not shown."""
    return str(value) if re.fullmatch(r"[0-9]{4}", str(value)) else None


def harmless(conventions: Conventions, value: Any) -> str | None:
    """Return a sender's reason for a failure, unless it reveals what banks withhold."""
    reason = text(conventions, value)
    return None if TELLTALE.search(reason) else reason
