"""Find the API key that a token belongs to."""

from __future__ import annotations

import hmac
import re
import threading
import time
from collections.abc import Callable

from app.keys.store import find_in_force, hash_token
from app.models import ApiKey

#: `mk_`, the public id without its prefix, and the secret.
_TOKEN = re.compile(r"mk_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")

#: Seconds that a lookup is cached: a revocation takes effect within this time in every process.
CACHE_SECONDS = 30.0

#: Maximum number of cached lookups. A full cache is emptied, so that guessed tokens can't fill the memory.
CACHE_SIZE = 10_000


class Keyring:
    """Finds keys by their tokens, and caches the results for `CACHE_SECONDS`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cache: dict[str, tuple[float, ApiKey | None]] = {}

    def find(self, token: str) -> ApiKey | None:
        """Return the key that `token` belongs to, unless it is revoked.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        named = _TOKEN.fullmatch(token)
        if named is None:
            return None
        digest = hash_token(token)

        def matching() -> ApiKey | None:
            key = find_in_force(f"key_{named[1]}")
            return key if key and hmac.compare_digest(key.token_hash, digest) else None

        return self._cached(digest, matching)

    def get(self, key_id: str) -> ApiKey | None:
        """Return the key with that id unless it is revoked. For a session whose token was verified before.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        return self._cached(key_id, lambda: find_in_force(key_id))

    def _cached(self, name: str, look_up: Callable[[], ApiKey | None]) -> ApiKey | None:
        now = time.monotonic()
        with self._lock:
            until, key = self._cache.get(name, (0.0, None))
        if now < until:
            return key
        key = look_up()
        with self._lock:
            if len(self._cache) >= CACHE_SIZE:
                self._cache.clear()
            self._cache[name] = (now + CACHE_SECONDS, key)
        return key
