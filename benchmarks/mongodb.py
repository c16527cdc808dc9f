"""SecantusDB as a process, with two things that MongoDB keeps in memory kept in memory here too.

It looks through every retryable write that it remembers, up to 10 000, at each write: soon that is five
milliseconds. MongoDB remembers one for each session, and finds it by the session. And it reads its catalogue
of indexes from disk, several times for each statement: with ten indexes two milliseconds of the four that an
update takes. Left as it is, a benchmark would see little else; all candidates use the same.

    BENCH_PLAIN_MONGODB=1 make bench    # as it is
    BENCH_MONGODB_URI=mongodb://… make bench    # MongoDB itself
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from secantus import transactions
from secantus.cli import main
from secantus.storage import Storage

Index = tuple[str, dict[str, Any], dict[str, Any]]

_catalogue: dict[tuple[str, str], list[Index]] = {}
_read = Storage._iter_indexes
_mark = Storage._maybe_mark_multikey


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


def keep_in_memory() -> None:
    """Teach SecantusDB both."""
    transactions._RETRYABLE_RECORD_MAX = 100
    Storage._iter_indexes = _remembered
    Storage._maybe_mark_multikey = _marked
    for name in ("create_index", "drop_index", "drop_all_indexes", "set_index_expiry", "set_index_options"):
        setattr(Storage, name, _forgetting(getattr(Storage, name)))


if __name__ == "__main__":
    if not os.environ.get("BENCH_PLAIN_MONGODB"):
        keep_in_memory()
    raise SystemExit(main())
