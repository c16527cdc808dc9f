"""Store of declines in Redis, shared by all processes. Each operation is one script and one round trip.

Under the prefix, for each subject (`KIND:NAME`):
    d:SUBJECT   declines: sorted set, attempt → time
    f:SUBJECT   attempts in flight: sorted set, "ATTEMPT BOOKING" → expiry
    l:SUBJECT   lockout: hash with `until` and `level`
    a:ATTEMPT   exists: the decline of this attempt is counted
    p:PAYMENT   the shopper's address of an open payment
Shared keys: `locked` (sorted set, subject → end of its lockout), and t:TOKEN (the token's card subject).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import redis

from app.abuse.store import (
    ADDRESS_KEPT_SECONDS,
    ATTEMPT_KEPT_SECONDS,
    BUSY_SECONDS,
    LEASE_SECONDS,
    LEVEL_KEPT_SECONDS,
    LOCKOUT_SECONDS,
    PROBATION_DIVISOR,
    TOKEN_KEPT_SECONDS,
    Lock,
    Standing,
    Subject,
)

#: Short timeouts: counting in Redis must not delay a payment.
_TIMEOUT_SECONDS = 0.5

_COMMON = """
local prefix, with = KEYS[1], cjson.decode(ARGV[1])
local now = with.now
local function level(key)
    local lock = redis.call("hmget", prefix .. "l:" .. key, "until", "level")
    return lock[1] and tonumber(lock[1]) + with.kept > now and tonumber(lock[2]) or 0
end
local function limit(count, lockouts)
    return lockouts > 0 and math.max(1, math.floor(count / with.divisor)) or count
end
local function since(key, seconds)
    return redis.call("zcount", prefix .. "d:" .. key, string.format("(%.3f", now - seconds), "+inf")
end
"""

#: Returns the milliseconds to wait.
_BEGIN = (
    _COMMON
    + """
-- An attempt of an earlier version is stored as its booking alone.
local function booking(in_flight) return string.match(in_flight, " (.*)") or in_flight end
local keys, wait = {}, 0
for _, subject in ipairs(with.subjects) do table.insert(keys, subject.key) end
local card = with.token ~= "" and redis.call("get", prefix .. "t:" .. with.token)
if card then table.insert(keys, card) end
for _, key in ipairs(keys) do
    wait = math.max(wait, tonumber(redis.call("hget", prefix .. "l:" .. key, "until") or "0") - now)
end
if wait > 0 then return math.ceil(wait * 1000) end
for _, subject in ipairs(with.subjects) do
    local flying = prefix .. "f:" .. subject.key
    redis.call("zremrangebyscore", flying, "-inf", string.format("%.3f", now))
    local seen, others = {[booking(with.in_flight)] = true}, 0
    for _, other in ipairs(redis.call("zrange", flying, 0, -1)) do
        if not seen[booking(other)] then others = others + 1 end
        seen[booking(other)] = true
    end
    local weight, lockouts = others * subject.weight, level(subject.key)
    for _, budget in ipairs(subject.budgets) do
        if since(subject.key, budget[2]) + weight >= limit(budget[1], lockouts) then
            return with.busy * 1000
        end
    end
end
for _, subject in ipairs(with.subjects) do
    local flying = prefix .. "f:" .. subject.key
    redis.call("zadd", flying, string.format("%.3f", now + with.lease), with.in_flight)
    redis.call("expire", flying, with.lease)
end
return 0
"""
)

#: Returns the largest used share of a first budget, in thousandths, the indexes of the newly locked subjects,
#: and 1 if any subject is locked out.
_DECLINED = (
    _COMMON
    + """
local used, locked, out = 0, {}, 0
local new = redis.call("set", prefix .. "a:" .. with.attempt, "", "NX", "EX", with.attempt_kept)
for index, subject in ipairs(with.subjects) do
    local declines, lockouts, full = prefix .. "d:" .. subject.key, level(subject.key), false
    redis.call("zrem", prefix .. "f:" .. subject.key, with.in_flight)
    if new then redis.call("zadd", declines, string.format("%.3f", now), with.attempt) end
    redis.call("zremrangebyscore", declines, "-inf", string.format("%.3f", now - subject.longest))
    redis.call("expire", declines, subject.longest)
    for number, budget in ipairs(subject.budgets) do
        local share = since(subject.key, budget[2]) / limit(budget[1], lockouts)
        if number == 1 then used = math.max(used, share) end
        full = full or share >= 1
    end
    local lock = prefix .. "l:" .. subject.key
    if new and full then
        local over = now + with.lockouts[math.min(lockouts + 1, #with.lockouts)]
        redis.call("hset", lock, "until", string.format("%.3f", over), "level", lockouts + 1)
        redis.call("expireat", lock, math.ceil(over + with.kept))
        redis.call("zadd", prefix .. "locked", string.format("%.3f", over), subject.key)
        redis.call("del", declines)
        table.insert(locked, index)
    end
    if tonumber(redis.call("hget", lock, "until") or "0") > now then out = 1 end
    if subject.kind == "card" and with.token ~= "" then
        redis.call("set", prefix .. "t:" .. with.token, subject.key, "EX", with.token_kept)
    end
end
redis.call("zremrangebyscore", prefix .. "locked", "-inf", string.format("%.3f", now))
return {math.floor(used * 1000), locked, out}
"""
)

#: Ends an attempt. ARGV: "ATTEMPT BOOKING"; then 1 for each subject that is given one decline back, else 0.
_ENDED = """
for i = 2, #ARGV do
    local subject = KEYS[i]
    redis.call("zrem", KEYS[1] .. "f:" .. subject, ARGV[1])
    if ARGV[i] == "1" then redis.call("zpopmin", KEYS[1] .. "d:" .. subject) end
end
"""


class RedisStore:
    """A `Store` in Redis. Raises `redis.RedisError` while Redis is unavailable.

    Args:
        url: redis(s)://…
        prefix: starts every key.
    """

    def __init__(self, url: str, prefix: str) -> None:
        self._prefix = prefix
        self._redis = redis.Redis.from_url(
            url,
            socket_connect_timeout=_TIMEOUT_SECONDS,
            socket_timeout=_TIMEOUT_SECONDS,
            decode_responses=True,
        )
        self._begin = self._redis.register_script(_BEGIN)
        self._declined = self._redis.register_script(_DECLINED)
        self._ended = self._redis.register_script(_ENDED)

    def begin(self, subjects: Sequence[Subject], token: str | None, in_flight: str, now: float) -> float:
        """See `Store.begin`."""
        values = {"lease": LEASE_SECONDS, "busy": BUSY_SECONDS, "kept": LEVEL_KEPT_SECONDS}
        return float(self._run(self._begin, subjects, token, in_flight, now, **values)) / 1000

    def declined(
        self, subjects: Sequence[Subject], token: str | None, in_flight: str, attempt: str, now: float
    ) -> Standing:
        """See `Store.declined`."""
        values = {
            "lockouts": LOCKOUT_SECONDS,
            "kept": LEVEL_KEPT_SECONDS,
            "token_kept": TOKEN_KEPT_SECONDS,
            "attempt_kept": ATTEMPT_KEPT_SECONDS,
        }
        used, locked, out = self._run(
            self._declined, subjects, token, in_flight, now, attempt=attempt, **values
        )
        return Standing(used / 1000, [subjects[index - 1].kind for index in locked], bool(out))

    def ended(self, subjects: Sequence[Subject], in_flight: str, *, forgiven: Sequence[str] = ()) -> None:
        """See `Store.ended`."""
        keys = [subject.key for subject in subjects]
        given_back = (int(subject.kind in forgiven) for subject in subjects)
        self._ended([self._prefix, *keys], [in_flight, *given_back])

    def keep_address(self, payment: str, address: str, now: float) -> None:
        """See `Store.keep_address`."""
        self._redis.set(f"{self._prefix}p:{payment}", address, ex=ADDRESS_KEPT_SECONDS)

    def address(self, payment: str, now: float) -> str | None:
        """See `Store.address`."""
        found: str | None = self._redis.get(f"{self._prefix}p:{payment}")  # type: ignore[assignment]
        return found

    def locks(self, now: float) -> list[Lock]:
        """See `Store.locks`."""
        found: Any = self._redis.zrange(
            f"{self._prefix}locked", "+inf", f"({now:.3f}", desc=True, byscore=True, withscores=True
        )
        levels: Any = []
        with self._redis.pipeline(transaction=False) as pipeline:
            for key, _ in found:
                pipeline.hget(f"{self._prefix}l:{key}", "level")
            levels = pipeline.execute()
        return [
            Lock.of(key, until, int(level or 0)) for (key, until), level in zip(found, levels, strict=True)
        ]

    def lift(self, kind: str, name: str) -> bool:
        """See `Store.lift`."""
        key = f"{kind}:{name}"
        with self._redis.pipeline() as pipeline:
            pipeline.delete(*(f"{self._prefix}{part}:{key}" for part in "dfl"))
            pipeline.zrem(f"{self._prefix}locked", key)
            return any(pipeline.execute())

    def _run(
        self,
        script: Any,
        subjects: Sequence[Subject],
        token: str | None,
        in_flight: str,
        now: float,
        **values: Any,
    ) -> Any:
        arguments = {
            "now": round(now, 3),
            "in_flight": in_flight,
            "token": token or "",
            "divisor": PROBATION_DIVISOR,
            "subjects": [
                {
                    "key": subject.key,
                    "kind": subject.kind,
                    "budgets": subject.budgets,
                    "weight": subject.weight,
                    "longest": max(budget.seconds for budget in subject.budgets),
                }
                for subject in subjects
            ],
        }
        return script(keys=[self._prefix], args=[json.dumps(arguments | values)])
