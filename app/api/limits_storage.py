"""Storage of rate-limit counters in Redis that needs one round trip for each request."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from flask import g
from limits import RateLimitItem
from limits.storage import RedisStorage

#: Increments several counters, like the library's script does for one. Stops at the first that is over its
#: limit, because the library checks no further. Also returns the remaining time in milliseconds.
_COUNT = """
local counts = {}
for i, key in ipairs(KEYS) do
    local count = redis.call("incrby", key, ARGV[1])
    if count == tonumber(ARGV[1]) then
        redis.call("expire", key, ARGV[2 * i])
    end
    counts[i] = {count, redis.call("pttl", key)}
    if count > tonumber(ARGV[2 * i + 1]) then
        break
    end
end
return counts
"""

_ANY_COUNT = 2**53


class OneTripStorage(RedisStorage):
    """Redis storage of the limits library, with one round trip for each request.

    The library's own storage needs four round trips for the two limits of a payment: one for each limit, and
    two for the response headers.

    Args:
        uri: URL of Redis, after `PREFIX`.
        grouped_limits: groups of limits that apply to one view.
        options: passed to the Redis client.
    """

    PREFIX = "one-trip+"
    STORAGE_SCHEME = ["one-trip+redis", "one-trip+rediss"]  # noqa: RUF012 - the library's

    def __init__(self, uri: str, grouped_limits: Sequence[RateLimitItem], **options: Any) -> None:
        super().__init__(uri.removeprefix(self.PREFIX), **options)
        self._count = self.storage.register_script(_COUNT)
        # In the library's order. A counter's key ends with its limit.
        self._grouped_limits = [
            (f"/{item.amount}/{item.multiples}/{item.GRANULARITY.name}", (item.get_expiry(), item.amount))
            for item in sorted(grouped_limits)
        ]

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Increment a counter and those of its group. Cache the results until the request ends."""
        counted = g.setdefault("counted", {})
        if key not in counted:
            group = self._counted_with(key, expiry)
            limits = {each: limit for each, limit in group.items() if each not in counted}
            counts = self._count(
                [self.prefixed_key(each) for each in limits],
                [amount, *(number for limit in limits.values() for number in limit)],
            )
            now = time.time()
            counted.update(
                {
                    each: (count, now + max(left, 0) / 1000)
                    for each, (count, left) in zip(limits, counts, strict=False)
                }
            )
        return int(counted[key][0])

    def _counted_with(self, key: str, expiry: int) -> dict[str, tuple[int, int]]:
        """Return the counters of a limit's group, each with its period in seconds and its limit."""
        first, _ = self._grouped_limits[0]
        if not key.endswith(first):
            return {key: (expiry, _ANY_COUNT)}  # there is no next counter, so the library compares
        stem = key.removesuffix(first)
        return {stem + end: limit for end, limit in self._grouped_limits}

    def get(self, key: str) -> int:
        """Return the current count."""
        known = g.get("counted", {}).get(key)
        return known[0] if known else super().get(key)

    def get_expiry(self, key: str) -> float:
        """Return the expiry of a counter, in seconds since 1970."""
        known = g.get("counted", {}).get(key)
        return known[1] if known else super().get_expiry(key)
