"""Receipts in Redis for accepted messages, kept until MongoDB has recorded them.

A delivery that is accepted but not recorded would be sent again after its lease. Redis stores the receipt
faster, and also while MongoDB is unavailable. A worker that takes over a delivery checks here first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import redis

from app.clock import iso
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)

_KEPT_SECONDS = 24 * 3600


class Receipts:
    """Reads and writes receipts.

    Args:
        store: the Redis client.
        namespace: prefix of every key.
    """

    def __init__(self, store: redis.Redis, namespace: str) -> None:
        self._redis = store
        self._namespace = namespace

    def keep(self, notification: Notification, sent_at: datetime, fields: Mapping[str, Any]) -> None:
        """Store a receipt. Does nothing while Redis is unavailable."""
        note = json.dumps({"sent_at": iso(sent_at), **fields})
        try:
            self._redis.set(self._key(notification), note, ex=_KEPT_SECONDS)
        except redis.RedisError as error:
            log.warning("receipt not stored", event_id=notification.event_id, reason=str(error))

    def find(self, notification: Notification) -> dict[str, Any] | None:
        """Return the fields to record if there is a receipt, else None.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        note: Any = self._redis.get(self._key(notification))
        if note is None:
            return None
        fields: dict[str, Any] = json.loads(note)
        return fields | {"sent_at": datetime.fromisoformat(fields["sent_at"])}

    def _key(self, notification: Notification) -> str:
        return f"{self._namespace}delivery:{notification.id}:accepted"
