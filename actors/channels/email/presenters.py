"""Functions that format one kind of event value.

Each returns None for a value that is not shown, and raises `Unpresentable` for an invalid one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from babel.units import format_unit
from marshmallow import ValidationError
from marshmallow.fields import Boolean

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from actors.channels.email.wording import TELLTALE
from app.text import ID_PATTERN, one_line

Presenter = Callable[[Conventions, Any], Any]

#: Maximum lengths. A longer value is meaningless or meant to inflate the mail.
_MAX_TEXT_LENGTH = 300
_MAX_URL_LENGTH = 2_000
_MAX_SEATS = 100
_MAX_RUNNING_TIME_MINUTES = 6_000

_UNSAFE_IN_URL = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\"'<>\\`{}|^]")
_BOOLEAN = Boolean()

#: Text that email clients and phones turn into a link: a scheme, or a dot between a word and letters. Dots of
#: internationalized domain names count (RFC 3490, 3.1).
_SCHEME = re.compile(r"://")
_DOT = re.compile(r"(?<=\w)([.\u3002\uff0e\uff61])(?=[^\W\d_]{2})")

#: Characters that do not occur in a person's name.
_LINK = re.compile(r"://|@|\bwww\b|(?<=[^\W_]{3})[.\u3002\uff0e\uff61][^\W\d_]{2}", re.IGNORECASE)


def text(_: Conventions, value: Any) -> str:
    """Return text on one line, in a form that email clients do not turn into a link.

    Email clients and phones turn `www.example.com` into a link, also in untrusted text. A blank after the
    dot, and before the slashes of a scheme, prevents this.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unpresentable("must be a string or an integer")
    return _DOT.sub(r"\1 ", _SCHEME.sub(": //", one_line(str(value), _MAX_TEXT_LENGTH)))


def person(conventions: Conventions, value: Any) -> str | None:
    """Return a person's name; None if it looks like a link, which attackers could send to others."""
    shown = text(conventions, value)
    return None if _LINK.search(one_line(str(value), _MAX_TEXT_LENGTH)) else shown


def identifier(_: Conventions, value: Any) -> str:
    """Return an id unchanged, because people copy it and scanners compare it."""
    if not isinstance(value, str):
        raise Unpresentable("must be a string")
    exact = len(value) <= _MAX_TEXT_LENGTH and re.search(ID_PATTERN, value)
    return value if exact else one_line(value, _MAX_TEXT_LENGTH)


def items(value: Any) -> list[Any]:
    """Return the members of a list, without nulls."""
    if not isinstance(value, list | tuple):
        raise Unpresentable("must be a list")
    return [item for item in value if item is not None]


def seats(conventions: Conventions, value: Any) -> list[str]:
    """Return the seats' names."""
    names = [text(conventions, seat) for seat in items(value)]
    rest = len(names) - _MAX_SEATS
    return [*names[:_MAX_SEATS], f"+{rest}"] if rest > 0 else names


def flag(_: Conventions, value: Any) -> bool:
    """Return a boolean, also from a word that the event's schema accepts."""
    try:
        return bool(_BOOLEAN.deserialize(value))
    except ValidationError:
        raise Unpresentable("must be true or false") from None


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
    """Return a link to an image. Only https, because email clients load it without a click."""
    link = url(conventions, value)
    return link if link and link.startswith("https://") else None


def minutes(conventions: Conventions, value: Any) -> str | None:
    """Return a running time in hours and minutes."""
    try:
        total = int(value)
    except (TypeError, ValueError, OverflowError):
        raise Unpresentable("must be a number of minutes") from None
    hours, rest = divmod(total, 60)
    if not 0 < total < _MAX_RUNNING_TIME_MINUTES:
        return None
    units = (("duration-hour", hours), ("duration-minute", rest))
    return " ".join(
        format_unit(number, unit, "short", locale=conventions.locale) for unit, number in units if number
    )


def named(names: Mapping[str, str]) -> Presenter:
    """Return the name of a code in `names`, or the code itself."""

    def present(conventions: Conventions, value: Any) -> str:
        code = text(conventions, value)
        return names.get(code.lower()) or code.replace("_", " ")

    return present


def last_four(_: Conventions, value: Any) -> str | None:
    """Return the last four digits of a card; None for other values, which may be the whole number."""
    return str(value) if re.fullmatch(r"[0-9]{4}", str(value)) else None


def harmless(conventions: Conventions, value: Any) -> str | None:
    """Return a sender's reason for a failure, unless it reveals what banks withhold."""
    reason = text(conventions, value)
    return None if TELLTALE.search(reason) else reason
