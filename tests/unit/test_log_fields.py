"""docs/logs.md has every field of the program's log lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Functions that log under another name.
_LOGGING = {"log", "tell"}

#: Keywords that are not fields: the traceback becomes `exception`.
_NO_FIELDS = {"exc_info"}


def logged() -> Iterator[str]:
    """Yield the keywords of all logging calls."""
    for folder in ("app", "actors", "cli", "devtools"):
        for source in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.Call) and _named(node.func) in _LOGGING:
                    yield from (keyword.arg for keyword in node.keywords if keyword.arg)


def _named(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        function = function.value
    return function.id if isinstance(function, ast.Name) else ""


def test_every_field_is_documented() -> None:
    table = (ROOT / "docs" / "logs.md").read_text().partition("## Fields")[2]
    found = set(logged()) - _NO_FIELDS
    assert len(found) > 30
    assert [field for field in sorted(found) if f"`{field}`" not in table] == []
