"""A few looks at the gateway for each payment, however many clients ask for its status."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.gateway import ActionRequired

#: Looks at one payment within `WINDOW_SECONDS`: one before the customer acts, and one right after.
LOOKS_PER_WINDOW = 2
WINDOW_SECONDS = 6.0

#: Payments remembered, the oldest forgotten first.
_MAX_REMEMBERED = 10_000


@dataclass
class _Looks:
    """The looks at one payment.

    Attributes:
        times: of the last ones, by the monotonic clock.
        action: what the customer had to do at the last one.
    """

    times: tuple[float, ...] = ()
    action: ActionRequired | None = None


class RecentLooks:
    """When each payment was last looked up by this process, and what its customer had to do then."""

    def __init__(self) -> None:
        self._payments: OrderedDict[str, _Looks] = OrderedDict()
        self._lock = threading.Lock()

    def claim(self, transaction_id: str) -> bool:
        """Whether the caller may look now."""
        now = time.monotonic()
        with self._lock:
            looks = self._looks_of(transaction_id)
            looks.times = tuple(at for at in looks.times if now - at < WINDOW_SECONDS)
            if len(looks.times) >= LOOKS_PER_WINDOW:
                return False
            looks.times += (now,)
        return True

    def remember(self, transaction_id: str, action: ActionRequired | None) -> None:
        """Keep what the customer has to do, for those who ask before the next look."""
        with self._lock:
            self._looks_of(transaction_id).action = action

    def action(self, transaction_id: str) -> ActionRequired | None:
        """What the customer had to do at the last look."""
        with self._lock:
            looks = self._payments.get(transaction_id)
            return looks.action if looks else None

    def _looks_of(self, transaction_id: str) -> _Looks:
        looks = self._payments.setdefault(transaction_id, _Looks())
        self._payments.move_to_end(transaction_id)
        if len(self._payments) > _MAX_REMEMBERED:
            self._payments.popitem(last=False)
        return looks
