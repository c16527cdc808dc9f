"""The simulator's data in SQLite, which survives a restart and a kill."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: An object of Stripe's API, as its JSON.
Record = dict[str, Any]

#: Version of the schema below. A file of another version is refused.
_VERSION = 1

_SCHEMA = """
CREATE TABLE objects (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    object TEXT NOT NULL,
    created INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX objects_by_kind ON objects (object, seq);
CREATE INDEX objects_by_intent ON objects (json_extract(body, '$.payment_intent'), object);
CREATE TABLE answers (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request TEXT NOT NULL,
    created INTEGER NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE INDEX answers_by_age ON answers (created);
CREATE TABLE clock (advanced INTEGER NOT NULL);
INSERT INTO clock VALUES (0);
"""


class Store:
    """One connection, one transaction at a time; safe to share between threads.

    Args:
        path: the file, created if it does not exist.

    Raises:
        sqlite3.Error: the file can't be opened, or is not a database of the simulator.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            if tables and version != _VERSION:
                raise sqlite3.DatabaseError(
                    "another version of the simulator created this file: delete the file"
                )
            self._db.execute("PRAGMA journal_mode = WAL")
            # Nothing is lost when the process is killed, only when the machine is.
            self._db.execute("PRAGMA synchronous = NORMAL")
            if not tables:
                self._db.executescript(
                    f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {_VERSION}; COMMIT;"
                )
        except sqlite3.Error:
            self._db.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Apply all of the block's writes, or none. A nested block belongs to the outer one."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement, in the current transaction if there is one, and fetch all of its rows."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def save(self, record: Record) -> None:
        """Insert an object, or replace it."""
        self.execute(
            "INSERT INTO objects (id, object, created, body) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (record["id"], record["object"], record["created"], json.dumps(record)),
        )

    def get(self, record_id: str) -> Record | None:
        """Return the object with that id, None if there is none."""
        return next((json.loads(body) for (body,) in self._bodies("id = ?", [record_id])), None)

    def all(self, kind: str) -> list[Record]:
        """Return every object of a kind, newest first."""
        rows = self._bodies("object = ? ORDER BY seq DESC", [kind])
        return [json.loads(body) for (body,) in rows]

    def select(self, condition: str, values: Sequence[Any]) -> list[Record]:
        """Return the objects that meet a condition in SQL on the columns of `objects`."""
        return [json.loads(body) for (body,) in self._bodies(condition, values)]

    def clear(self) -> None:
        """Delete everything."""
        with self.transaction():
            for table in ("objects", "answers"):
                self.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
            self.execute("UPDATE clock SET advanced = 0")

    def _bodies(self, condition: str, values: Sequence[Any]) -> list[Any]:
        return self.execute(f"SELECT body FROM objects WHERE {condition}", values)  # noqa: S608 - as above
