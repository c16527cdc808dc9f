"""The SDK's form encoding: `metadata[id]=1&expand[0]=latest_charge` into nested dicts and lists."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nest form fields. Lists come as dicts by index; `as_list` reads them."""
    root: dict[str, Any] = {}
    for name, value in pairs:
        path = [part for part in re.split(r"[\[\]]+", name) if part] or [name]
        node = root
        for part in path[:-1]:
            child = node.setdefault(part, {})
            node = child if isinstance(child, dict) else {}
        node[path[-1]] = value
    return root


def as_list(value: Any) -> list[Any]:
    """A decoded list, whether it came as `x[0]=a&x[1]=b` or `x[]=a`."""
    return list(value.values()) if isinstance(value, dict) else [value] if value else []
