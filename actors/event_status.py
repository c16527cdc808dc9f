"""`event:{event_id}:status` in Redis: read by other services, and a fast duplicate check for `notify`.

MongoDB's unique index prevents a second message. This check only saves work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import redis

from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

log = get_logger(__name__)

Status = Literal["processing", "processed", "failed"]

_KEPT_SECONDS = 24 * 3600


class EventStatus:
    """Reads and writes the status. Does nothing while Redis is unavailable.

    Args:
        store: the Redis client.
        namespace: prefix of every key.
    """

    def __init__(self, store: redis.Redis, namespace: str) -> None:
        self._redis = store
        self._namespace = namespace

    def begin(self, event_id: str) -> tuple[str | None, str | None]:
        """Write `processing` unless a status is known.

        Returns:
            The previous status, and the digest of the processed event with this id; None if unknown.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                status = self._key(event_id, "status")
                pipeline.set(status, "processing", ex=_KEPT_SECONDS, nx=True, get=True)
                pipeline.get(self._key(event_id, "digest"))
                found: list[Any] = pipeline.execute()
        except redis.RedisError as error:
            log.warning("event status not read", reason=str(error))
            return None, None
        return found[0], found[1]

    def set(self, event_id: str, status: Status) -> None:
        """Write the status, with an expiry of a day."""
        self._set({self._key(event_id, "status"): status})

    def processed(self, event_id: str, digest: str) -> None:
        """Write that the event with this digest is processed, with an expiry of a day."""
        # Stored separately, because other services read the status.
        self._set({self._key(event_id, "digest"): digest, self._key(event_id, "status"): "processed"})

    def _set(self, values: Mapping[str, Any]) -> None:
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for key, value in values.items():
                    pipeline.set(key, value, ex=_KEPT_SECONDS)
                pipeline.execute()
        except redis.RedisError as error:
            log.warning("event status not written", reason=str(error))

    def _key(self, event_id: str, what: str) -> str:
        return f"{self._namespace}event:{event_id}:{what}"
