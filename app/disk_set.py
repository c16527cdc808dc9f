"""A set of strings on disk, for more of them than should be in memory."""

from __future__ import annotations

import sqlite3


class DiskSet:
    """A set of strings in a temporary file that SQLite deletes when the set is closed or the process ends.

    Uses about 2 MiB of memory, whatever its size. The file is in the directory that the environment
    variable SQLITE_TMPDIR names, else in /var/tmp or /tmp (https://www.sqlite.org/tempfiles.html).
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        # Nothing reads the file after this process, so it needs neither a journal nor one transaction for
        # each row.
        self._database.execute("PRAGMA journal_mode = OFF")
        self._database.execute("CREATE TABLE items (item TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def add(self, item: str) -> None:
        """Add `item`, if the set does not contain it."""
        self._database.execute("INSERT OR IGNORE INTO items VALUES (?)", (item,))

    def __contains__(self, item: str) -> bool:
        return bool(self._database.execute("SELECT 1 FROM items WHERE item = ?", (item,)).fetchone())

    def close(self) -> None:
        """Delete the file."""
        self._database.close()
