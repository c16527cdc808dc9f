"""The state of each mail server as seen by the workers, shared through Redis.

The circuit breaker is in the worker's memory. Operators see its last report.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import redis

from app.clock import from_iso, iso, utcnow
from app.errors import unavailable
from app.masking import mask_text

if TYPE_CHECKING:
    from app.settings import Settings

RELAYS = ("primary", "fallback")

#: Timeout in seconds, so that a report does not delay an email for long.
_TIMEOUT_SECONDS = 0.5

#: Age after which an unconfirmed report is ignored.
_RETENTION = timedelta(days=7)

_TROUBLE = ("since", "reason", "next_try_at")


@dataclass(frozen=True)
class MailServer:
    """The workers' last report on one mail server.

    Attributes:
        relay: `primary` or `fallback`.
        address: `host:port`.
        at: when a worker last used it.
        since: when its failure began; None while it works.
        reason: the failure.
        next_try_at: time of the next attempt.
        certificate_until: when its certificate expires; None without TLS.
    """

    relay: str
    address: str
    at: datetime
    since: datetime | None = None
    reason: str | None = None
    next_try_at: datetime | None = None
    certificate_until: datetime | None = None


class MailServers:
    """Writes and reads the states.

    Args:
        settings: have Redis's URL and the namespace.
    """

    def __init__(self, settings: Settings) -> None:
        self._prefix = f"{settings.namespace}mail_server:"
        # It connects at first use, so that it can be created before a fork.
        self._redis = redis.Redis.from_url(
            settings.redis_url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            decode_responses=True,
        )

    def works(self, relay: str, address: str, certificate_until: datetime | None = None) -> None:
        """Report that a server has accepted a connection. Does nothing without Redis."""
        known: dict[Any, Any] = {"address": address, "at": iso(utcnow())}
        if certificate_until:
            known["certificate_until"] = iso(certificate_until)
        key = self._prefix + relay
        with suppress(redis.RedisError), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping=known)
            pipeline.hdel(key, *_TROUBLE)
            pipeline.expire(key, _RETENTION)
            pipeline.execute()

    def in_trouble(self, relay: str, address: str, reason: str, next_try_at: datetime) -> None:
        """Report that emails are held. Does nothing without Redis."""
        now = iso(utcnow())
        known: dict[Any, Any] = {
            "address": address,
            "at": now,
            "reason": mask_text(reason)[:500],
            "next_try_at": iso(next_try_at),
        }
        key = self._prefix + relay
        with suppress(redis.RedisError), self._redis.pipeline(transaction=True) as pipeline:
            pipeline.hset(key, mapping=known)
            pipeline.hsetnx(key, "since", now)
            pipeline.expire(key, _RETENTION)
            pipeline.execute()

    def states(self) -> list[MailServer]:
        """Return the state of each server that was used.

        Raises:
            ServiceUnavailable: Redis is unavailable.
        """
        try:
            with self._redis.pipeline(transaction=False) as pipeline:
                for relay in RELAYS:
                    pipeline.hgetall(self._prefix + relay)
                found = pipeline.execute()
        except redis.RedisError as error:
            raise unavailable("Redis", error) from None
        return [
            MailServer(
                relay=relay,
                address=known.get("address", ""),
                at=at,
                since=from_iso(known.get("since")),
                reason=known.get("reason"),
                next_try_at=from_iso(known.get("next_try_at")),
                certificate_until=from_iso(known.get("certificate_until")),
            )
            for relay, known in zip(RELAYS, found, strict=True)
            if (at := from_iso(known.get("at")))
        ]

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()
