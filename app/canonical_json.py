"""Canonical JSON: equal documents have equal text."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def canonical(value: Any) -> str:
    """Return canonical JSON: equal documents give equal text.

    Members are sorted, and numbers are written by value: 25.5 and 25.50 are equal.
    """
    return json.dumps(_by_value(value), sort_keys=True)


def _by_value(value: Any) -> Any:
    match value:
        case dict():
            return {name: _by_value(member) for name, member in value.items()}
        case list():
            return [_by_value(item) for item in value]
        case bool() | None | str():
            return value
        case _:
            return {"number": str(Decimal(value).normalize() + 0)}  # no minus before zero
