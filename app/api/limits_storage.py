"""Counters of rate limits in Redis: those of a request in one round trip, which tells what was left too."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from flask import g
from limits import RateLimitItem
from limits.storage import RedisStorage

#: As the library's, for several counters: up to the first that is over its limit, for the library asks no
#: further. It tells the time left too, in milliseconds.
_COUNT = """
local told = {}
for i, key in ipairs(KEYS) do
    local count = redis.call("incrby", key, ARGV[1])
    if count == tonumber(ARGV[1]) then
        redis.call("expire", key, ARGV[2 * i])
    end
    told[i] = {count, redis.call("pttl", key)}
    if count > tonumber(ARGV[2 * i + 1]) then
        break
    end
end
return told
"""

_ANY_COUNT = 2**53


class OneTripStorage(RedisStorage):
    """The library's storage for Redis, with one round trip for all that a request wants of it.

    The library asks Redis for each limit, and again, twice, for what the headers of the answer tell: with the
    two limits of a payment, four round trips.

    Args:
        uri: Redis', after `PREFIX`.
        together: the limits of an address that has several.
        options: of the connections.
    """

    PREFIX = "one-trip+"
    STORAGE_SCHEME = ["one-trip+redis", "one-trip+rediss"]  # noqa: RUF012 - the library's

    def __init__(self, uri: str, together: Sequence[RateLimitItem], **options: Any) -> None:
        super().__init__(uri.removeprefix(self.PREFIX), **options)
        self._count = self.storage.register_script(_COUNT)
        # In the library's order. A counter's key ends with what its limit is.
        self._together = [
            (f"/{item.amount}/{item.multiples}/{item.GRANULARITY.name}", (item.get_expiry(), item.amount))
            for item in sorted(together)
        ]

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and whatever is counted together with it; until the request ends we know what Redis said."""
        counted = g.setdefault("counted", {})
        if key not in counted:
            wanted = self._counted_with(key, expiry)
            limits = {each: limit for each, limit in wanted.items() if each not in counted}
            told = self._count(
                [self.prefixed_key(each) for each in limits],
                [amount, *(number for limit in limits.values() for number in limit)],
            )
            now = time.time()
            counted.update(
                {
                    each: (count, now + max(left, 0) / 1000)
                    for each, (count, left) in zip(limits, told, strict=False)
                }
            )
        return int(counted[key][0])

    def _counted_with(self, key: str, expiry: int) -> dict[str, tuple[int, int]]:
        """The counters that go with the first of several limits, or that one: seconds and limit of each."""
        first, _ = self._together[0]
        if not key.endswith(first):
            return {key: (expiry, _ANY_COUNT)}  # nothing follows, and the library compares
        stem = key.removesuffix(first)
        return {stem + end: limit for end, limit in self._together}

    def get(self, key: str) -> int:
        """How much has been counted."""
        known = g.get("counted", {}).get(key)
        return known[0] if known else super().get(key)

    def get_expiry(self, key: str) -> float:
        """When that is forgotten, in seconds since 1970."""
        known = g.get("counted", {}).get(key)
        return known[1] if known else super().get_expiry(key)
