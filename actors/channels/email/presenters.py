"""One kind of value each, made ready to print.

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
_LONGEST_TEXT = 300
_LONGEST_URL = 2_000
_MOST_SEATS = 100
_LONGEST_FILM = 6_000

_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\"'<>\\`{}|^]")
_BOOLEAN = Boolean()

#: What mail programs and phones turn into a link: a scheme, or a dot between a word and letters. Dots of
#: internationalized domain names count (RFC 3490, 3.1).
_SCHEME = re.compile(r"://")
_DOT = re.compile(r"(?<=\w)([.\u3002\uff0e\uff61])(?=[^\W\d_]{2})")

#: What no person is called, in a greeting.
_LINK = re.compile(r"://|@|\bwww\b|(?<=[^\W_]{3})[.\u3002\uff0e\uff61][^\W\d_]{2}", re.IGNORECASE)


def text(_: Conventions, value: Any) -> str:
    """A title or a sentence, on one line, in which nothing becomes a link.

    Mail programs and phones turn `www.example.com` into a link, also in text that a stranger has written. A
    blank after the dot, and before the slashes of a scheme, prevents it and reads the same.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unpresentable("is no text")
    return _DOT.sub(r"\1 ", _SCHEME.sub(": //", one_line(str(value), _LONGEST_TEXT)))


def person(conventions: Conventions, value: Any) -> str | None:
    """A person's name; none if it looks like a link: who signs up with one has the mail sent to others."""
    shown = text(conventions, value)
    return None if _LINK.search(one_line(str(value), _LONGEST_TEXT)) else shown


def identifier(_: Conventions, value: Any) -> str:
    """An id, exactly as it is: people copy it, and a scanner at the door compares it."""
    if not isinstance(value, str):
        raise Unpresentable("is not an id")
    exact = len(value) <= _LONGEST_TEXT and re.search(ID_PATTERN, value)
    return value if exact else one_line(value, _LONGEST_TEXT)


def items(value: Any) -> list[Any]:
    """The members of a list, without nulls."""
    if not isinstance(value, list | tuple):
        raise Unpresentable("is no list")
    return [item for item in value if item is not None]


def seats(conventions: Conventions, value: Any) -> list[str]:
    """The seats' names."""
    names = [text(conventions, seat) for seat in items(value)]
    rest = len(names) - _MOST_SEATS
    return [*names[:_MOST_SEATS], f"+{rest}"] if rest > 0 else names


def flag(_: Conventions, value: Any) -> bool:
    """A boolean, or what the event's schema takes for one."""
    try:
        return bool(_BOOLEAN.deserialize(value))
    except ValidationError:
        raise Unpresentable("is neither true nor false") from None


def url(_: Conventions, value: Any) -> str | None:
    """A link to http or https; none for any other."""
    if not isinstance(value, str) or len(value) > _LONGEST_URL or _UNSAFE_IN_URL.search(value):
        return None
    try:
        parts = urlsplit(value)
        host = parts.hostname
    except ValueError:
        return None
    # A user name before the host can make it look like another: https://bank.example@evil.example
    return value if parts.scheme in ("http", "https") and host and "@" not in parts.netloc else None


def picture(conventions: Conventions, value: Any) -> str | None:
    """A link to a picture: https only, for mail programs load it by themselves."""
    link = url(conventions, value)
    return link if link and link.startswith("https://") else None


def minutes(_: Conventions, value: Any) -> str | None:
    """A running time."""
    try:
        total = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unpresentable("is no number of minutes") from None
    hours, rest = divmod(total, 60)
    parts = [f"{number} {unit}" for number, unit in ((hours, "h"), (rest, "min")) if number]
    return " ".join(parts) if 0 < total < _LONGEST_FILM else None


def named(names: Mapping[str, str]) -> Presenter:
    """A code by its name in `names`; one that is not there in its own words."""

    def present(conventions: Conventions, value: Any) -> str:
        code = text(conventions, value)
        return names.get(code.lower()) or code.replace("_", " ")

    return present


def last_four(_: Conventions, value: Any) -> str | None:
    """The end of a card number. Anything but four digits may be the whole of it, and is not shown."""
    return str(value) if re.fullmatch(r"[0-9]{4}", str(value)) else None


def harmless(conventions: Conventions, value: Any) -> str | None:
    """A sender's own reason for a failure, unless it tells what banks hide."""
    reason = text(conventions, value)
    return None if TELLTALE.search(reason) else reason
