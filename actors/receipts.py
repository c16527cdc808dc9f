"""Receipts in Redis for messages that a server accepted, or may have accepted.

If the outcome is not recorded in MongoDB, the delivery would be sent again after its lease. Redis stores the
receipt faster, and also while MongoDB is unavailable. A worker that takes over a delivery checks here first.
A receipt does not apply after an operator has resent the delivery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import redis

from actors.errors import Uncertain
from app.clock import iso
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)

_KEPT_SECONDS = 24 * 3600

#: The field with the reason of an uncertain delivery.
_UNCERTAIN = "uncertain"


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
        """Store the receipt of an accepted message. Does nothing while Redis is unavailable."""
        self._store(notification, {"sent_at": iso(sent_at), **fields})

    def keep_uncertain(self, notification: Notification, reason: str) -> None:
        """Store that a message may have been accepted. Does nothing while Redis is unavailable."""
        self._store(notification, {_UNCERTAIN: reason})

    def find(self, notification: Notification) -> dict[str, Any] | Uncertain | None:
        """Return the fields to record, the error of an uncertain delivery, or None without a receipt.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        note: Any = self._redis.get(self._key(notification))
        if note is None:
            return None
        fields: dict[str, Any] = json.loads(note)
        if reason := fields.get(_UNCERTAIN):
            return Uncertain(reason)
        return fields | {"sent_at": datetime.fromisoformat(fields["sent_at"])}

    def _store(self, notification: Notification, note: Mapping[str, Any]) -> None:
        try:
            self._redis.set(self._key(notification), json.dumps(note), ex=_KEPT_SECONDS)
        except redis.RedisError as error:
            log.warning("receipt not stored", event_id=notification.event_id, reason=str(error))

    def _key(self, notification: Notification) -> str:
        resend = f":{notification.resends}" if notification.resends else ""
        return f"{self._namespace}delivery:{notification.id}{resend}:accepted"
