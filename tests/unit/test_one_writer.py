"""One writer for each kind of record: the ledger for payments, the audit log for operators' actions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: Modules that may import the model. All except the ledger only read, for reports.
LEDGER = "app/payments/ledger/mongo.py"
AUDIT = "app/operations/audit.py"
BULK = "app/payments/bulk/store.py"
SUPPRESSIONS = "app/suppressions/store.py"
READERS = {
    "app/dashboard/lists.py",
    "app/operations/attention.py",
    "app/operations/listing.py",
    "app/operations/records.py",
    "app/operations/finding.py",
    "app/operations/grouping.py",
    "app/operations/privacy.py",
    "app/operations/stats.py",
    "app/operations/trace.py",
    # Tools that read its declared indexes and measure an example.
    "devtools/capacity.py",
    "devtools/index_sizes.py",
}
MODELS = "app/models/"

#: Methods of MongoEngine and PyMongo that change documents.
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


def importers(*models: str) -> set[str]:
    """Return the modules that import any of these models, without the package that defines them."""
    return {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith("app.models")
        and {name.name for name in node.names}.intersection(models)
        and not path.startswith(MODELS)
    }


def test_only_the_ledger_and_reports_import_the_payment_model() -> None:
    assert importers("Transaction") == {LEDGER, *READERS}


def test_audit_entries_are_only_added() -> None:
    holders = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if (
            isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "OperatorAction"
        )
        or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "OperatorAction"
        )
    }
    assert holders == {AUDIT}
    tree = ast.parse((ROOT / AUDIT).read_text())
    called = {
        node.func.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }
    assert called & WRITES == {"insert"}


def test_only_the_suppression_list_writes_suppressions() -> None:
    holders = {
        path
        for path, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Suppression", "SoftBounce")
    }
    assert holders == {SUPPRESSIONS}


def test_only_one_module_imports_the_models_of_bulk_refunds() -> None:
    assert importers("RefundRun", "RefundRunLine") == {BULK}


def test_reports_only_read() -> None:
    for path, tree in modules():
        if path in READERS:
            called = {
                node.func.attr
                for node in ast.walk(tree)
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            }
            assert not called & WRITES, path
