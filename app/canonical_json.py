"""One text for all the ways to write the same JSON."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any


def canonical(value: Any) -> str:
    """Return JSON that is the same for two documents that mean the same.

    The order of members means nothing, and numbers are compared by value: 25.5 and 25.50 are one number.
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
