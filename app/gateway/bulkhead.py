"""A limit on the calls in flight, so that an unresponsive gateway can't hold every thread of a server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from app.errors import GatewayError
from app.gateway.gateway import Share

#: How long a call waits for a slot while the gateway responds: longer than a call usually takes.
SLOT_WAIT_SECONDS = 2.0


class Bulkhead:
    """Limits concurrent calls, and refuses others before anything is sent to the gateway.

    Customers may use every slot. Each other share may use a quarter of them, at least one, so that hanging
    webhooks and status reads leave slots to payments. Only a few calls wait for a slot, because a waiting
    thread serves no other request.

    Args:
        size: maximum number of concurrent calls.
    """

    def __init__(self, size: int) -> None:
        quarter = max(1, size // 4)
        self._limits = {share: size if share is Share.CUSTOMER else quarter for share in Share}
        self._size = size
        self._max_waiting = size // 6
        self._in_flight: Counter[Share] = Counter()
        self._waiting = 0
        #: Shares in which a call has waited until the timeout and no call has ended since. Further calls do
        #: not wait.
        self._stuck: set[Share] = set()
        self._slot_freed = threading.Condition()

    @contextmanager
    def admitted(self, share: Share = Share.CUSTOMER) -> Iterator[None]:
        """Hold a slot.

        Raises:
            GatewayError: no slot is free; nothing was sent to the gateway.
        """
        with self._slot_freed:
            if not self._has_slot(share) and not self._wait_for_slot(share):
                raise GatewayError(
                    "The payment gateway is slow. Nothing was charged or refunded. Please try again soon."
                )
            self._in_flight[share] += 1
        try:
            yield
        finally:
            with self._slot_freed:
                self._in_flight[share] -= 1
                self._stuck = {stuck for stuck in self._stuck if not self._has_slot(stuck)}
                self._slot_freed.notify_all()

    def _has_slot(self, share: Share) -> bool:
        return self._in_flight[share] < self._limits[share] and self._in_flight.total() < self._size

    def _wait_for_slot(self, share: Share) -> bool:
        if share in self._stuck or self._waiting >= self._max_waiting:
            return False
        self._waiting += 1
        try:
            freed = self._slot_freed.wait_for(lambda: self._has_slot(share), SLOT_WAIT_SECONDS)
        finally:
            self._waiting -= 1
        if not freed:
            self._stuck.add(share)
        return freed
