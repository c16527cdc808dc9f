"""`event:{event_id}:status` in Redis: a quick word on an event for other services, and a quick way out here.

MongoDB's unique index is what keeps an event from being told twice; this only saves the work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import redis

from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

Status = Literal["processing", "processed", "failed"]

_KEPT_SECONDS = 24 * 3600


class EventStatus:
    """Reads and writes the status; while Redis is away nothing is known and nothing fails."""

    def __init__(self, settings: Settings) -> None:
        self._prefix = settings.namespace
        self._redis = redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=0.5, socket_timeout=0.5, decode_responses=True
        )

    def processed(self, event_id: str) -> bool:
        """Whether the event is known to be processed."""
        try:
            return bool(self._redis.get(self._key(event_id)) == "processed")
        except redis.RedisError as error:
            log.warning("event status unknown", reason=str(error))
            return False

    def set(self, event_id: str, status: Status) -> None:
        """Write the status, for a day."""
        try:
            self._redis.set(self._key(event_id), status, ex=_KEPT_SECONDS)
        except redis.RedisError as error:
            log.warning("event status not written", reason=str(error))

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def _key(self, event_id: str) -> str:
        return f"{self._prefix}event:{event_id}:status"
