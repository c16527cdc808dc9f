"""A limit on the calls in flight, so that a dead gateway can't hold every thread of a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import GatewayError

#: Seconds to wait for a call to end while the gateway works: longer than it usually takes.
_PATIENCE = 2.0


class Bulkhead:
    """Lets so many calls run at once, and refuses the others before anything is tried.

    Args:
        size: calls at once.
    """

    def __init__(self, size: int) -> None:
        self._slots = threading.BoundedSemaphore(size)
        #: Somebody waited in vain, and no call has ended since: nobody needs to wait again.
        self._stuck = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            GatewayError: there is none; nothing was charged.
        """
        if not self._slots.acquire(timeout=0 if self._stuck else _PATIENCE):
            self._stuck = True
            raise GatewayError("The payment gateway is slow. Nothing was charged; please try again soon.")
        try:
            yield
        finally:
            self._stuck = False
            self._slots.release()
