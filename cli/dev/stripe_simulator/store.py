"""The simulator's memory: SQLite, so that a restart forgets nothing."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, created INTEGER NOT NULL, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_by_kind ON objects (kind, created);
CREATE TABLE IF NOT EXISTS idempotency (
    key TEXT PRIMARY KEY, fingerprint TEXT NOT NULL, created INTEGER NOT NULL, status INTEGER, body TEXT);
"""


class Store:
    """Stripe's objects by id, and its idempotency keys: one connection, one transaction at a time."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.executescript(_SCHEMA)
        # Claims whose request died with the last process: what they did was rolled back.
        self._db.execute("DELETE FROM idempotency WHERE status IS NULL")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block's writes, or none."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def put(self, record: dict[str, Any]) -> None:
        """Insert or replace an object."""
        with self._lock:
            row = (record["id"], record["object"], record["created"], json.dumps(record))
            self._db.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?)", row)

    def get(self, record_id: str) -> dict[str, Any] | None:
        """The object with that id."""
        with self._lock:
            row = self._db.execute("SELECT body FROM objects WHERE id = ?", (record_id,)).fetchone()
        return json.loads(row[0]) if row else None

    def all(self, kind: str) -> list[dict[str, Any]]:
        """Every object of a kind, newest first."""
        with self._lock:
            rows = self._db.execute(
                "SELECT body FROM objects WHERE kind = ? ORDER BY created DESC, rowid DESC", (kind,)
            ).fetchall()
        return [json.loads(row[0]) for row in rows]

    def claim_key(
        self, key: str, fingerprint: str, now: int, kept: int
    ) -> tuple[str, int | None, str] | None:
        """Claim an idempotency key.

        Returns:
            None if it is claimed now, else the earlier claim: its fingerprint, status (None while it runs)
            and body.
        """
        with self.transaction():
            self._db.execute("DELETE FROM idempotency WHERE created < ?", (now - kept,))
            row: tuple[str, int | None, str] | None = self._db.execute(
                "SELECT fingerprint, status, body FROM idempotency WHERE key = ?", (key,)
            ).fetchone()
            if row is None:
                self._db.execute(
                    "INSERT INTO idempotency VALUES (?, ?, ?, NULL, NULL)", (key, fingerprint, now)
                )
            return row

    def keep_answer(self, key: str, status: int, body: str) -> None:
        """Store the answer that belongs to a claimed key."""
        with self._lock:
            self._db.execute("UPDATE idempotency SET status = ?, body = ? WHERE key = ?", (status, body, key))

    def release_key(self, key: str) -> None:
        """Forget a claim that led to nothing."""
        with self._lock:
            self._db.execute("DELETE FROM idempotency WHERE key = ?", (key,))
