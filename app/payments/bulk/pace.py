"""Rate of a bulk refund: steady, with pauses while the gateway refuses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

#: Pauses after a refusal, in seconds: doubled from the first to the longest.
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0


class Pace:
    """Rate limiter shared by several threads.

    Args:
        rate: maximum number of requests a second.
        now: monotonic clock, in seconds.
    """

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate
        self._now = now
        self._next = now()
        self._pause = 0.0
        self._paused_until = self._next
        self._lock = threading.Lock()

    def take(self) -> float:
        """Reserve the next free time. Return the seconds until then."""
        with self._lock:
            now = self._now()
            at = max(now, self._next)
            self._next = at + self._interval
            return at - now

    def refused(self) -> None:
        """Pause all threads after a temporary refusal by the gateway."""
        with self._lock:
            if self._now() < self._paused_until:
                return  # the request was sent before the pause began
            self._pause = min(max(2 * self._pause, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
            self._paused_until = self._now() + self._pause
            self._next = max(self._next, self._paused_until)

    def accepted(self) -> None:
        """End the pauses after the gateway accepted a request."""
        with self._lock:
            self._pause = 0.0
