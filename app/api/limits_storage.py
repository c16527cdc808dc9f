"""Counters of rate limits in Redis, read with the same round trip that counts."""

from __future__ import annotations

import time
from typing import Any

from flask import g
from limits.storage import RedisStorage

#: As the library's, but it tells the time left too, in milliseconds.
_COUNT = """
local count = redis.call("incrby", KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then
    redis.call("expire", KEYS[1], ARGV[1])
end
return {count, redis.call("pttl", KEYS[1])}
"""


class OneTripStorage(RedisStorage):
    """The library's storage for Redis; it answers what follows a count from the answer to that count.

    The library asks Redis again, twice, for what the headers of the answer tell: with the two limits of a
    payment, four round trips instead of two.

    Args:
        uri: Redis', after `PREFIX`.
        options: of the connections.
    """

    PREFIX = "one-trip+"
    STORAGE_SCHEME = ["one-trip+redis", "one-trip+rediss"]  # noqa: RUF012 - the library's

    def __init__(self, uri: str, **options: Any) -> None:
        super().__init__(uri.removeprefix(self.PREFIX), **options)
        self._count = self.storage.register_script(_COUNT)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; for the rest of this request we know what Redis said."""
        count, left = self._count([self.prefixed_key(key)], [expiry, amount])
        g.setdefault("counted", {})[key] = count, time.time() + max(left, 0) / 1000
        return int(count)

    def get(self, key: str) -> int:
        """How much has been counted."""
        known = g.get("counted", {}).get(key)
        return known[0] if known else super().get(key)

    def get_expiry(self, key: str) -> float:
        """When that is forgotten, in seconds since 1970."""
        known = g.get("counted", {}).get(key)
        return known[1] if known else super().get_expiry(key)
