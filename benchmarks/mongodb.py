"""Run SecantusDB with three changes that make it work like MongoDB.

At each write, SecantusDB searches up to 10,000 remembered retryable writes, which soon takes five
milliseconds. MongoDB remembers one for each session. SecantusDB reads its index catalog from disk several
times for each statement: with ten indexes, two of the four milliseconds of an update. MongoDB keeps it in
memory. SecantusDB also rewrites a document's entries in all indexes at each update. MongoDB writes only those
that change. Without the changes, these costs would hide all others.

All candidates use the same server:

    BENCH_PLAIN_MONGODB=1 make bench    # SecantusDB without the changes
    BENCH_MONGODB_URI=mongodb://… make bench    # MongoDB
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from secantus import transactions
from secantus.cli import main
from secantus.storage import Storage

Index = tuple[str, dict[str, Any], dict[str, Any]]

_catalogue: dict[tuple[str, str], list[Index]] = {}
_read = Storage._iter_indexes
_mark = Storage._maybe_mark_multikey
_delete_entries, _write_entries = Storage._delete_index_entries, Storage._write_index_entries


def _remembered(self: Storage, db: str, collection: str) -> list[Index]:
    """Return the indexes, which are read once."""
    if (db, collection) not in _catalogue:
        _catalogue[db, collection] = list(_read(self, db, collection))
    return _catalogue[db, collection]


def _forgetting(change: Callable[..., Any]) -> Callable[..., Any]:
    """Change the catalog, and forget the indexes that were read."""

    def changed(*args: Any, **options: Any) -> Any:
        _catalogue.clear()
        try:
            return change(*args, **options)
        finally:
            _catalogue.clear()

    return changed


def _marked(self: Storage, *args: Any) -> set[str]:
    """Mark indexes as multikey for a document's lists. The first list in a field changes the catalog."""
    known = len(args[-1])
    names: set[str] = _mark(self, *args)
    if len(names) > known:
        _catalogue.clear()
    return names


def _delete_changed(self: Storage, *args: Any, recordid: int) -> None:
    """Delete a document's index entries; before an update, only those that it changes."""
    db, collection, doc, indexes, *partials = args
    new = sys._getframe(1).f_locals.get("new")  # the updated document
    if new is not None:
        indexes = [index for index in indexes if _changes(index[1], doc, new)]
        self._tls.rewritten = recordid, indexes
    _delete_entries(self, db, collection, doc, indexes, *partials, recordid=recordid)


def _write_changed(self: Storage, *args: Any, recordid: int) -> None:
    """Write a document's index entries; after an update, only those that were deleted."""
    db, collection, doc, indexes, *partials = args
    updated, rewritten = self._tls.__dict__.pop("rewritten", (None, []))
    if updated == recordid:
        indexes = rewritten
    _write_entries(self, db, collection, doc, indexes, *partials, recordid=recordid)


def _changes(keys: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> bool:
    fields = {key.partition(".")[0] for key in keys}
    return any((field in old, old.get(field)) != (field in new, new.get(field)) for field in fields)


def do_as_mongodb() -> None:
    """Apply the three changes to SecantusDB."""
    transactions._RETRYABLE_RECORD_MAX = 100
    Storage._iter_indexes = _remembered
    Storage._maybe_mark_multikey = _marked
    Storage._delete_index_entries = _delete_changed
    Storage._write_index_entries = _write_changed
    for name in ("create_index", "drop_index", "drop_all_indexes", "set_index_expiry", "set_index_options"):
        setattr(Storage, name, _forgetting(getattr(Storage, name)))


if __name__ == "__main__":
    if not os.environ.get("BENCH_PLAIN_MONGODB"):
        do_as_mongodb()
    raise SystemExit(main())
