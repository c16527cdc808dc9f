"""What an event says, whoever wrote it down."""

from __future__ import annotations

import json
from typing import Any


def canonical(value: Any) -> str:
    """JSON that is the same for two copies of an event, however they were serialised.

    The order of an object's members and the difference between 25 and 25.0 mean nothing.
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))


def _plain(value: Any) -> Any:
    match value:
        case dict():
            return {name: _plain(member) for name, member in value.items()}
        case list():
            return [_plain(item) for item in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value
