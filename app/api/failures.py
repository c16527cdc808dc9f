"""Count failed requests by client address."""

from __future__ import annotations

import redis
from flask import current_app, request
from flask_limiter import Limiter
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from app.abuse.addresses import client_of
from app.errors import RateLimited
from app.telemetry import metrics


def client_address() -> str:
    """Return the client address of a request: without a port, IPv6 as its /64 network.

    Values that are not IP addresses all count as one client.
    """
    try:
        return client_of(request.remote_addr or "")
    except ValueError:
        return "unknown"


class Failures:
    """Rate limits of wrong keys and forged webhooks, by client address.

    Only failures count and are refused. Valid requests from a shared address are never delayed.

    Args:
        limiter: the application's Flask-Limiter.
        limits: such as `30 per minute`.
    """

    def __init__(self, limiter: Limiter, limits: str) -> None:
        self._limiter = limiter
        self._items = parse_many(limits)
        self._own = FixedWindowRateLimiter(MemoryStorage())

    def count(self, kind: str) -> None:
        """Count a failure of the current request.

        Raises:
            RateLimited: the address has exceeded the limits.
        """
        for item in self._items:
            if self._limiter.enabled and not self._hit(item, f"{kind}-failures", client_address()):
                metrics.RATE_LIMITED.inc()
                raise RateLimited(item.get_expiry())

    def _hit(self, item: RateLimitItem, *identifiers: str) -> bool:
        try:
            return self._limiter.limiter.hit(item, *identifiers)
        except redis.RedisError:
            return self._own.hit(item, *identifiers)


def count_failure(kind: str) -> None:
    """Count a wrong key or a forged webhook: see `Failures.count`."""
    failures: Failures = current_app.extensions["failures"]
    failures.count(kind)
