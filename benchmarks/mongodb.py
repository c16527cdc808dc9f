"""SecantusDB as a process, with three things done as MongoDB does them.

It looks through every retryable write that it remembers, up to 10 000, at each write: soon that is five
milliseconds. MongoDB remembers one for each session, and finds it by the session. It reads its catalogue of
indexes from disk, several times for each statement: with ten indexes two milliseconds of the four that an
update takes. MongoDB keeps it in memory. And with each update it writes a document's entries in all indexes
anew, MongoDB those that change. Left as it is, a benchmark would see little else.

All candidates use the same:

    BENCH_PLAIN_MONGODB=1 make bench    # as it is
    BENCH_MONGODB_URI=mongodb://… make bench    # MongoDB itself
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
    """Indexes, read once."""
    if (db, collection) not in _catalogue:
        _catalogue[db, collection] = list(_read(self, db, collection))
    return _catalogue[db, collection]


def _forgetting(change: Callable[..., Any]) -> Callable[..., Any]:
    """A change of the catalogue, after which it is read anew."""

    def changed(*args: Any, **options: Any) -> Any:
        _catalogue.clear()
        try:
            return change(*args, **options)
        finally:
            _catalogue.clear()

    return changed


def _marked(self: Storage, *args: Any) -> set[str]:
    """What a document's lists make of the indexes: the first list in a field changes the catalogue."""
    known = len(args[-1])
    names: set[str] = _mark(self, *args)
    if len(names) > known:
        _catalogue.clear()
    return names


def _delete_changed(self: Storage, *args: Any, recordid: int) -> None:
    """Delete a document's entries; before an update only those that it changes."""
    db, collection, doc, indexes, *partials = args
    new = sys._getframe(1).f_locals.get("new")  # what the update makes of it
    if new is not None:
        indexes = [index for index in indexes if _changes(index[1], doc, new)]
        self._tls.rewritten = recordid, indexes
    _delete_entries(self, db, collection, doc, indexes, *partials, recordid=recordid)


def _write_changed(self: Storage, *args: Any, recordid: int) -> None:
    """Write a document's entries; after an update those that were deleted."""
    db, collection, doc, indexes, *partials = args
    updated, rewritten = self._tls.__dict__.pop("rewritten", (None, []))
    if updated == recordid:
        indexes = rewritten
    _write_entries(self, db, collection, doc, indexes, *partials, recordid=recordid)


def _changes(keys: dict[str, Any], old: dict[str, Any], new: dict[str, Any]) -> bool:
    fields = {key.partition(".")[0] for key in keys}
    return any((field in old, old.get(field)) != (field in new, new.get(field)) for field in fields)


def do_as_mongodb() -> None:
    """Teach SecantusDB all three."""
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
