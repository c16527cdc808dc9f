"""Limit messages to one recipient and about one booking, so that nobody can flood a stranger.

Normal bookings stay far below the limits. Failed payments are reported once an hour for each booking and
channel, so that repeated attempts do not fill a mailbox.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import redis

from app.settings.budgets import Budget, Budgets
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification

log = get_logger(__name__)

_FAILED_ONCE = (Budget(1, 3_600),)

_TOO_MANY = "too many messages to this recipient (RECIPIENT_LIMITS)"
_TOO_MANY_FOR_BOOKING = "too many messages about this booking (RECIPIENT_LIMITS)"
_REPORTED = "a failed payment of this booking was reported within the last hour"

#: Maximum number of counters in memory while Redis is unavailable.
_MAX_REMEMBERED = 10_000

#: Counts a message under each key unless a budget is used up. A message that was counted before passes.
#: Returns the number of the first key whose budget is used up, 0 if there is none.
_COUNT = """
local with = cjson.decode(ARGV[1])
for index, key in ipairs(KEYS) do
    if not redis.call("zscore", key, with.message) then
        for _, budget in ipairs(with.budgets[index]) do
            local since = string.format("(%.3f", with.now - budget[2])
            if redis.call("zcount", key, since, "+inf") >= budget[1] then return index end
        end
    end
end
for index, key in ipairs(KEYS) do
    local longest = 0
    for _, budget in ipairs(with.budgets[index]) do longest = math.max(longest, budget[2]) end
    redis.call("zremrangebyscore", key, "-inf", string.format("%.3f", with.now - longest))
    redis.call("zadd", key, "NX", string.format("%.3f", with.now), with.message)
    redis.call("expire", key, longest)
end
return 0
"""


class _Limit(NamedTuple):
    key: str
    budgets: Sequence[Budget]
    reason: str


class RecipientLimits:
    """Counts messages in Redis, or in this process while Redis is unavailable.

    Args:
        store: the Redis client.
        namespace: prefix of every key.
        budgets: limits of `email` and `sms` for each recipient, and of `booking` for each booking and
            channel.
        clock: returns seconds since 1970.
    """

    def __init__(
        self, store: redis.Redis, namespace: str, budgets: Budgets, clock: Callable[[], float] = time.time
    ) -> None:
        self._prefix = f"{namespace}messages:"
        self._budgets = budgets
        self._clock = clock
        self._count = store.register_script(_COUNT)
        self._lock = threading.Lock()
        self._own: dict[str, dict[str, float]] = {}

    def exceeded(self, notification: Notification) -> str | None:
        """Count a delivery. Return why it exceeds a limit, or None. Retries do not count."""
        limits = self._limits_for(notification)
        if not limits:
            return None
        message, now = str(notification.id), self._clock()
        try:
            arguments = {"message": message, "now": now, "budgets": [limit.budgets for limit in limits]}
            found = int(self._count(keys=[limit.key for limit in limits], args=[json.dumps(arguments)]))
        except redis.RedisError as error:
            log.warning("messages counted in this process only", reason=type(error).__name__)
            found = self._count_here(limits, message, now)
        return limits[found - 1].reason if found else None

    def _limits_for(self, notification: Notification) -> list[_Limit]:
        channel, booking = notification.notification_type, notification.booking_id
        # A digest, because an address is personal data.
        recipient = hashlib.sha256(str(notification.recipient).lower().encode()).hexdigest()[:32]
        limits = [_Limit(f"{channel}:{recipient}", self._budgets.get(channel, ()), _TOO_MANY)]
        if booking:
            about = hashlib.sha256(str(booking).encode()).hexdigest()[:32]
            limits.append(
                _Limit(f"booking:{channel}:{about}", self._budgets.get("booking", ()), _TOO_MANY_FOR_BOOKING)
            )
            if notification.event_type == "payment.failed" and self._budgets:
                limits.insert(0, _Limit(f"failed:{channel}:{about}", _FAILED_ONCE, _REPORTED))
        return [limit._replace(key=self._prefix + limit.key) for limit in limits if limit.budgets]

    def _count_here(self, limits: Sequence[_Limit], message: str, now: float) -> int:
        with self._lock:
            for number, limit in enumerate(limits, 1):
                times = self._own.get(limit.key, {})
                used = [sum(when > now - seconds for when in times.values()) for _, seconds in limit.budgets]
                full = any(count >= budget[0] for count, budget in zip(used, limit.budgets, strict=True))
                if full and message not in times:
                    return number
            for limit in limits:
                self._own.setdefault(limit.key, {}).setdefault(message, now)
            while len(self._own) > _MAX_REMEMBERED:
                self._own.pop(next(iter(self._own)))
        return 0
