"""Carry out the writes of concurrent threads together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Write = TypeVar("Write")
Result = TypeVar("Result")

#: Maximum number of concurrent batches. With two, a connection that hangs does not block all threads.
_MAX_CONCURRENT_BATCHES = 2

#: Writes in a batch, far below MongoDB's limit.
_MAX_BATCH_SIZE = 100


class _Waiting(Generic[Write, Result]):
    """The write of one thread.

    Attributes:
        turn: held until the outcome is known, or until this thread must carry out a batch.
        batch: the writes that this thread must carry out, including its own.
        outcome: the result or the error; None while there is none.
    """

    __slots__ = ("batch", "outcome", "turn", "write")

    def __init__(self, write: Write) -> None:
        self.write = write
        self.turn = threading.Lock()
        self.turn.acquire()
        self.batch: list[_Waiting[Write, Result]] = []
        self.outcome: Result | Exception | None = None


class Batches(Generic[Write, Result]):
    """Combines concurrent writes into batches.

    No write waits for a batch to fill. While fewer than two batches are running, it is carried out
    immediately. Otherwise, it waits for one of them to end, and joins the next batch. Each thread gets the
    result or the error of its own write.

    Other threads must not raise exceptions in threads that use this, as Dramatiq does in its worker threads.

    Args:
        carry_out: carries out writes, and returns a result or an error for each. An exception
            is the error of all of them.
    """

    def __init__(self, carry_out: Callable[[Sequence[Write]], Sequence[Result | Exception]]) -> None:
        self._carry_out = carry_out
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[Write, Result]] = []
        self._running = 0

    def write(self, write: Write) -> Result:
        """Carry out a write, and return its result.

        Raises:
            Exception: the error of this write, or of its batch.
        """
        entry: _Waiting[Write, Result] = _Waiting(write)
        with self._lock:
            if self._running < _MAX_CONCURRENT_BATCHES:
                self._running += 1
                entry.batch = [entry]
            else:
                self._waiting.append(entry)
        if not entry.batch:
            entry.turn.acquire()
        if entry.batch:
            self._lead(entry.batch)
        if isinstance(entry.outcome, Exception):
            raise entry.outcome
        assert entry.outcome is not None  # noqa: S101 - for the type checker
        return entry.outcome

    def _lead(self, batch: Sequence[_Waiting[Write, Result]]) -> None:
        """Carry out a batch, then pass the lead to the first thread that waits."""
        try:
            outcomes = self._carry_out([each.write for each in batch])
        except Exception as error:
            outcomes = [error] * len(batch)
        for each, outcome in zip(batch, outcomes, strict=True):
            each.outcome = outcome
        with self._lock:
            following, self._waiting = self._waiting[:_MAX_BATCH_SIZE], self._waiting[_MAX_BATCH_SIZE:]
            if following:
                following[0].batch = following
            else:
                self._running -= 1
        for each in (*batch, *following[:1]):
            each.turn.release()
