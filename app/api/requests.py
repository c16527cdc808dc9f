"""Parsing requests: JSON only, exact numbers, and text that can be stored, sent and shown."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import flask
from flask_smorest import Blueprint
from marshmallow import Schema, ValidationError, fields, validate
from webargs.flaskparser import FlaskParser, abort

from app.api.errors import ErrorEnvelope, error_examples
from app.api.json import loads
from app.telemetry.redact import holds_card_number


class JSONParser(FlaskParser):
    """webargs' parser for Flask, with this API's JSON."""

    def _raw_load_json(self, req: flask.Request) -> Any:
        if not req.is_json:
            abort(415)
        try:
            return loads(req.get_data(cache=True))
        except ValueError:
            abort(422, messages={"body": ["Not valid JSON."]})


class JSONBlueprint(Blueprint):  # type: ignore[misc] # flask-smorest ships no types
    """A flask-smorest blueprint whose arguments are parsed by `JSONParser`."""

    ARGUMENTS_PARSER = JSONParser()

    def arguments(self, schema: type[Schema], **kwargs: Any) -> Callable[[Any], Any]:
        """Declare what a view's body must be. The schema is made here, once: of a class webargs makes one for
        each request."""
        decorate: Callable[[Any], Any] = super().arguments(schema(), **kwargs)
        return decorate

    def errors(self, *statuses: int) -> Callable[[Any], Any]:
        """Declare that a view may answer with the error envelope and one of `statuses`."""

        def decorate(view: Any) -> Any:
            for status in statuses:
                examples = error_examples(status)
                view = self.alt_response(status, schema=ErrorEnvelope, examples=examples)(view)
            return view

        return decorate


class Pattern(validate.Regexp):
    """A regular expression for the whole value, in the words that Python and JSON Schema (ECMA 262) share."""

    def __call__(self, value: Any) -> Any:
        # Unlike match, fullmatch lets no line break slip in after `$`.
        if not self.regex.fullmatch(value):
            raise ValidationError(self._format_error(value))
        return value


class Text(fields.String):
    """Text of bounded length without control characters or lone surrogates.

    Such text can break out of a mail header, a log line or a terminal, or can't be encoded at all.
    """

    def __init__(self, max_length: int, **kwargs: Any) -> None:
        length = validate.Length(min=1, max=max_length)
        super().__init__(validate=[length, *kwargs.pop("validate", [])], **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if any(unicodedata.category(char) in ("Cc", "Cs") for char in text):
            raise ValidationError("Must not contain control characters.")
        return text


class Prose(Text):
    """Text that people write: not a place for a card number, which would be stored with it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if holds_card_number(text):
            raise ValidationError("Must not hold a card number.")
        return text


class Amount(fields.Field[Decimal]):
    """A JSON number. Not a string, not a boolean; whether it can be charged is decided elsewhere."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise ValidationError("Must be a number.")
        return Decimal(value)


class Digits(fields.Field[str]):
    """A short number that clients send as a JSON string or integer, as an expiry month."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(text, str) or not re.fullmatch(r"[0-9]{1,4}", text):
            raise ValidationError("Must be a number of at most four digits.")
        return text
