"""The simulator's clock: real time plus an adjustable offset."""

from __future__ import annotations

import time

from devtools.stripe_simulator.store import Store


class Clock:
    """A clock whose offset from real time survives a restart."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def now(self) -> int:
        """Return seconds since 1970."""
        ((advanced,),) = self._store.execute("SELECT advanced FROM clock")
        return int(time.time()) + int(advanced)

    def advance(self, seconds: int) -> None:
        """Move the clock forward."""
        self._store.execute("UPDATE clock SET advanced = advanced + ?", (seconds,))
