"""Parse and check requests: JSON with exact numbers, safe text, and no card numbers."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

import flask
from flask_smorest import Blueprint
from marshmallow import Schema, ValidationError, fields, validate
from webargs.flaskparser import FlaskParser, abort

from app.abuse.addresses import client_of
from app.addresses import ADDRESS_PATTERN, InvalidAddress, parse_address
from app.api.errors import ErrorEnvelope, error_examples
from app.api.json import loads
from app.card_numbers import holds_card_number
from app.errors import InvalidRequest
from app.events.fields import VISIBLE
from app.ids import normalized_id
from app.text import VISIBLE_SCALAR_PATTERN

#: The only field of a body that may contain a card number.
_CARD_NUMBER = ("card_details", "card_number")

#: Headers whose values are stored or logged.
_KEPT_HEADERS = ("Idempotency-Key", "X-Request-ID")

#: Unicode categories of characters that an id must not contain: control, format (zero width, direction),
#: surrogate, line and paragraph separator.
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

#: Invisible characters of other categories: the combining grapheme joiner, fillers, Khmer inherent vowels,
#: variation selectors, the blank Braille pattern, and the replacement character.
_FILLERS = frozenset(
    map(chr, (0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, 0xFFA0))
) | frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xFFFC, 0x10000), *range(0xE0100, 0xE01F0))))

#: The same rule for clients, as a JSON Schema pattern (ECMA 262), for characters of 16 bits.
_INVISIBLE = (
    r"\u0000-\u001f\u007f-\u009f\u00ad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160\u17b4-\u17b5"
    r"\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\uffff"
)
_EDGE = rf"[^{_INVISIBLE}\u0020\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]"
ID_PATTERN = rf"^{_EDGE}([^{_INVISIBLE}]*{_EDGE})?$"

_NO_CARD_NUMBER = "Must not contain a card number."
_NO_CARD_NUMBER_IN_NAMES = "Names of fields must not contain a card number."


def refuse_card_numbers() -> None:
    """Refuse a request whose path, query, or stored headers contain a card number.

    Raises:
        InvalidRequest: has the place of the card number, not the number.
    """
    request = flask.request
    places = {name: request.headers.get(name, "") for name in _KEPT_HEADERS}
    places |= {"path": request.path, "query": request.query_string.decode("latin-1")}
    found = {name: [_NO_CARD_NUMBER] for name, text in places.items() if holds_card_number(text)}
    if found:
        raise InvalidRequest("The request is invalid. See details.fields.", fields=found)


def _card_numbers(body: Any) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the path to each card number in a body, and the error message for it."""
    rest: list[tuple[tuple[str, ...], Any]] = [((), body)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, dict):
            if any(map(holds_card_number, value)):
                yield path, _NO_CARD_NUMBER_IN_NAMES
            else:
                rest += [((*path, name), item) for name, item in value.items()]
        elif isinstance(value, list):
            rest += [((*path, str(index)), item) for index, item in enumerate(value)]
        elif isinstance(value, str | int) and path != _CARD_NUMBER and holds_card_number(str(value)):
            yield path, _NO_CARD_NUMBER


def _refuse_card_numbers_in(body: Any) -> None:
    refused: dict[str, Any] = {}
    for path, message in _card_numbers(body):
        place = refused
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1] if path else "body"] = [message]
    if refused:
        abort(422, messages=refused)


class JSONParser(FlaskParser):
    """webargs' parser for Flask, with this API's JSON and its rule for card numbers."""

    def _raw_load_json(self, req: flask.Request) -> Any:
        if not req.is_json:
            abort(415)
        try:
            body = loads(req.get_data(cache=True))
        except ValueError:
            abort(422, messages={"body": ["Not valid JSON."]})
        _refuse_card_numbers_in(body)
        return body


class JSONBlueprint(Blueprint):  # type: ignore[misc] # flask-smorest ships no types
    """A flask-smorest blueprint whose arguments are parsed by `JSONParser`."""

    ARGUMENTS_PARSER = JSONParser()

    def arguments(self, schema: type[Schema], **kwargs: Any) -> Callable[[Any], Any]:
        """Declare what a view's body must be. The schema is instantiated once: from a class, webargs would
        make one for each request."""
        decorate: Callable[[Any], Any] = super().arguments(schema(), **kwargs)
        return decorate

    def errors(self, *statuses: int) -> Callable[[Any], Any]:
        """Declare that a view may return the error envelope with one of `statuses`."""

        def decorate(view: Any) -> Any:
            for status in statuses:
                examples = error_examples(status)
                view = self.alt_response(status, schema=ErrorEnvelope, examples=examples)(view)
            return view

        return decorate


class Pattern(validate.Regexp):
    """Validator: a regular expression for the whole value, in the syntax that Python and ECMA 262 share."""

    def __call__(self, value: Any) -> Any:
        # Unlike match, fullmatch allows no line break at the end.
        if not self.regex.fullmatch(value):
            raise ValidationError(self._format_error(value))
        return value


class Text(fields.String):
    """Text of bounded length without control characters or lone surrogates.

    Control characters could break out of a mail header, a log line, or a terminal; surrogates can't be
    encoded.
    """

    def __init__(self, max_length: int, **kwargs: Any) -> None:
        length = validate.Length(min=1, max=max_length)
        super().__init__(validate=[length, *kwargs.pop("validate", [])], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
            raise ValidationError("Must not contain control characters or unpaired surrogates.")
        return text


class VisibleText(Text):
    """Text that must not be blank, by the same rule as in events."""

    def __init__(self, max_length: int, *, metadata: dict[str, Any], **kwargs: Any) -> None:
        metadata = {"pattern": VISIBLE_SCALAR_PATTERN} | metadata
        super().__init__(max_length, validate=[VISIBLE], metadata=metadata, **kwargs)


class Id(Text):
    """An id chosen by the caller. Ids that look the same are equal, so a booking is paid once.

    The id is normalized to NFC (https://unicode.org/reports/tr15/). Outer spaces and invisible characters are
    refused, not removed, because the caller's records would have a different id.
    """

    def __init__(self, *, metadata: dict[str, Any], **kwargs: Any) -> None:
        super().__init__(max_length=128, metadata={"pattern": ID_PATTERN} | metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = normalized_id(super()._deserialize(value, attr, data, **kwargs))
        if text != text.strip():
            raise ValidationError("Must not begin or end with whitespace.")
        if any(unicodedata.category(char) in _NOT_SHOWN or char in _FILLERS for char in text):
            raise ValidationError("Must not contain control, format, or other invisible characters.")
        return text


class EmailAddress(fields.String):
    """One deliverable email address, by the same rule as in events."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(max=254), Pattern(ADDRESS_PATTERN)], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        try:
            parse_address(text)
        except InvalidAddress as error:
            raise ValidationError(str(error)) from None
        return text


class ClientAddress(fields.Field[str]):
    """The IP address of a shopper, loaded as the client behind it: see `client_of`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string with an IPv4 or IPv6 address.")
        try:
            return client_of(value)
        except ValueError:
            raise ValidationError("Must be an IPv4 or IPv6 address.") from None


class Amount(fields.Field[Decimal]):
    """A JSON number, not a string or boolean. `app.money` decides whether it can be charged."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValidationError("Must be a JSON number, such as 12.5.")
        return Decimal(value)


class Digits(fields.Field[str]):
    """A short number, such as an expiry month, that clients send as a JSON string or integer."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,4}", text):
            raise ValidationError("Must be a whole number with 1 to 4 digits.")
        return text
