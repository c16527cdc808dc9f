"""JSON of requests and responses, with numbers as Decimal instead of float."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn

from flask.json.provider import JSONProvider

from app.clock import iso


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a valid JSON value")


#: Powers of ten beyond which arithmetic with a number would fail.
_MAX_EXPONENT = 1_000

_OUT_OF_RANGE = f"the exponent of a number must be from -{_MAX_EXPONENT} to {_MAX_EXPONENT}"


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(_OUT_OF_RANGE) from None
    if number and abs(number.adjusted()) > _MAX_EXPONENT:
        raise ValueError(_OUT_OF_RANGE)
    return number


def loads(text: str | bytes) -> Any:
    """Parse JSON (RFC 8259) with exact decimals. NaN and Infinity are refused.

    Raises:
        ValueError: `text` is not JSON, is nested too deeply, or has a number out of range.
    """
    try:
        return json.loads(text, parse_float=_decimal, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None


def _default(value: object) -> Any:
    if isinstance(value, Decimal):
        # Amounts have at most 13 significant digits; a float's shortest form keeps 15.
        return float(value)
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"a value of type {type(value).__name__} can't be converted to JSON")


_encoder = json.JSONEncoder(default=_default, separators=(",", ":"), ensure_ascii=False)


class ExactJSONProvider(JSONProvider):
    """Flask JSON provider with exact decimals."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return _encoder.encode(obj)

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return loads(s)
