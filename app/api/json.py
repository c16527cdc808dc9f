"""JSON at the edge: numbers come in as Decimal, never as float, and go out as numbers."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from typing import Any, NoReturn

from flask.json.provider import JSONProvider

from app.clock import iso


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def loads(text: str | bytes) -> Any:
    """Parse JSON (RFC 8259): decimals exactly, without the NaN and Infinity that Python would take.

    Raises:
        ValueError: not JSON, or nested or long beyond reason.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _default(value: object) -> Any:
    if isinstance(value, Decimal):
        # Amounts have at most 13 significant digits; a float's shortest form keeps 15.
        return float(value)
    if isinstance(value, datetime):
        return iso(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


class ExactJSONProvider(JSONProvider):
    """Flask's JSON, exact."""

    def dumps(self, obj: Any, **_: Any) -> str:
        return json.dumps(obj, default=_default, separators=(",", ":"), ensure_ascii=False)

    def loads(self, s: str | bytes, **_: Any) -> Any:
        return loads(s)
