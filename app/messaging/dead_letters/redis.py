"""Dead letters on the embedded Redis, in the keys of Dramatiq's RedisBroker.

For each queue: `….XQ`, a sorted set of message ids by time of death in milliseconds, and `….XQ.msgs`, a hash
of their bodies; a regular queue is a list of ids and its hash `….msgs` (dramatiq/brokers/redis/dispatch.lua).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import redis

from app.errors import unavailable
from app.messaging.dead_letters.letter import DeadLetter
from app.messaging.redis import reasons_key

#: Timeout of each call to Redis, in seconds.
_TIMEOUT_SECONDS = 5.0

#: Dead letters read at once.
_BATCH_SIZE = 500

#: Moves a dead letter atomically, unless another command has moved it.
_REPLAY = """
if redis.call("zrem", KEYS[1] .. ".XQ", ARGV[1]) == 1 then
    redis.call("hdel", KEYS[1] .. ".XQ.msgs", ARGV[1])
    redis.call("hdel", KEYS[2], ARGV[1])
    redis.call("hset", KEYS[1] .. ".msgs", ARGV[1], ARGV[2])
    redis.call("rpush", KEYS[1], ARGV[1])
end
"""


class RedisDeadLetters:
    """See `DeadLetters`.

    Args:
        url: redis(s)://…
        namespace: namespace of the broker.
    """

    def __init__(self, url: str, namespace: str) -> None:
        self._redis = redis.Redis.from_url(
            url, socket_connect_timeout=_TIMEOUT_SECONDS, socket_timeout=_TIMEOUT_SECONDS
        )
        self._replay = self._redis.register_script(_REPLAY)
        self._namespace = namespace
        self._removed = 0

    def count(self, queue: str) -> int:
        with _failures():
            dead: Any = self._redis.zcard(f"{self._key(queue)}.XQ")
            return int(dead)

    def read(self, queue: str, *, ahead: int = 0) -> Generator[DeadLetter, None, None]:
        key, seen, self._removed = f"{self._key(queue)}.XQ", 0, 0
        # New dead letters are not read, so that a message that fails again causes no endless loop.
        total = self.count(queue)
        while seen < total:
            start, size = seen - self._removed, min(_BATCH_SIZE, total - seen)
            with _failures():
                scored: Any = self._redis.zrange(key, start, start + size - 1, withscores=True)
                names = [name for name, _ in scored]
                bodies: Any = self._redis.hmget(f"{key}.msgs", names) if names else []
                reasons: Any = self._redis.hmget(reasons_key(self._key(queue)), names) if names else []
            for name, (_, died_ms), body, reason in zip(names, scored, bodies, reasons, strict=True):
                seen += 1
                died_at = datetime.fromtimestamp(died_ms / 1000, UTC)
                yield DeadLetter(queue, body or b"", died_at, name, reason and reason.decode())
            if not scored:
                return

    def replay(self, letter: DeadLetter) -> None:
        key = self._key(letter.queue)
        with _failures():
            self._replay(keys=[key, reasons_key(key)], args=[letter.handle, letter.revived])
        self._removed += 1

    def drop(self, letter: DeadLetter) -> None:
        key = f"{self._key(letter.queue)}.XQ"
        with _failures(), self._redis.pipeline() as pipeline:
            pipeline.zrem(key, letter.handle)
            pipeline.hdel(f"{key}.msgs", letter.handle)
            pipeline.hdel(reasons_key(self._key(letter.queue)), letter.handle)
            pipeline.execute()
        self._removed += 1

    def close(self) -> None:
        self._redis.close()

    def _key(self, queue: str) -> str:
        return f"{self._namespace}:{queue}"


@contextmanager
def _failures() -> Iterator[None]:
    """Turn Redis's failures into `ServiceUnavailable`."""
    try:
        yield
    except redis.RedisError as error:
        raise unavailable("Redis", error) from error
