"""Only the ledger writes payments: no other module holds the collection in which they are."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Modules that may hold the model. All but the ledger read: reports that no rule depends on.
LEDGER = "app/payments/ledger/mongo.py"
READERS = {
    "app/dashboard/pages.py",
    "app/operations/stats.py",
    "app/payments/trace.py",
}
MODELS = "app/models/"

#: What changes documents, in MongoEngine's and in PyMongo's words.
WRITES = {
    "bulk_write",
    "collection",
    "compare_and_set",
    "delete",
    "delete_many",
    "delete_one",
    "find_one_and_update",
    "insert",
    "insert_many",
    "insert_one",
    "modify",
    "replace_one",
    "save",
    "update",
    "update_many",
    "update_one",
    "upsert_one",
}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("app", "actors", "cli", "devtools"):
        for source in sorted((ROOT / folder).rglob("*.py")):
            yield source.relative_to(ROOT).as_posix(), ast.parse(source.read_text())


def test_only_the_ledger_and_reports_hold_the_model_of_payments() -> None:
    holders = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("app.models")
        and any(name.name == "Transaction" for name in node.names)
        and not path.startswith(MODELS)
    }
    assert holders == {LEDGER, *READERS}


def test_reports_only_read() -> None:
    for path, tree in modules():
        if path in READERS:
            called = {
                node.func.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            assert not called & WRITES, path
