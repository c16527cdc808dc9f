"""Limit the gateway lookups for each payment, however often clients poll its status."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.gateway import ActionRequired

#: Lookups of a payment within `WINDOW_SECONDS`: one before the customer acts, and one directly after.
LOOKUPS_PER_WINDOW = 2
WINDOW_SECONDS = 6.0

#: Maximum number of remembered payments; the oldest are forgotten first.
_MAX_REMEMBERED = 10_000


@dataclass
class _Lookups:
    """The recent lookups of one payment.

    Attributes:
        times: times of the last lookups, by the monotonic clock.
        action: the customer's required action at the last lookup.
    """

    times: tuple[float, ...] = ()
    action: ActionRequired | None = None


class RecentLookups:
    """Recent lookups of payments by this process, with the customers' required actions."""

    def __init__(self) -> None:
        self._payments: OrderedDict[str, _Lookups] = OrderedDict()
        self._lock = threading.Lock()

    def claim(self, transaction_id: str) -> bool:
        """Claim a lookup. Return whether the caller may do it now."""
        now = time.monotonic()
        with self._lock:
            lookups = self._lookups_of(transaction_id)
            lookups.times = tuple(at for at in lookups.times if now - at < WINDOW_SECONDS)
            if len(lookups.times) >= LOOKUPS_PER_WINDOW:
                return False
            lookups.times += (now,)
        return True

    def remember(self, transaction_id: str, action: ActionRequired | None) -> None:
        """Store the customer's required action until the next lookup."""
        with self._lock:
            self._lookups_of(transaction_id).action = action

    def action(self, transaction_id: str) -> ActionRequired | None:
        """Return the customer's required action at the last lookup."""
        with self._lock:
            lookups = self._payments.get(transaction_id)
            return lookups.action if lookups else None

    def _lookups_of(self, transaction_id: str) -> _Lookups:
        lookups = self._payments.setdefault(transaction_id, _Lookups())
        self._payments.move_to_end(transaction_id)
        if len(self._payments) > _MAX_REMEMBERED:
            self._payments.popitem(last=False)
        return lookups
