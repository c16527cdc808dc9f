"""GET /health/ready: whether payments can be taken safely, and what else is amiss."""

from __future__ import annotations

import socket
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis
from flask import Response, jsonify
from pymongo.errors import PyMongoError

from app.api.requests import JSONBlueprint
from app.api.schemas import Readiness
from app.clock import iso, utcnow
from app.errors import ServiceUnavailable
from app.events.outbox import backlog
from app.models import database
from app.services import services

if TYPE_CHECKING:
    from app.settings import Settings

blueprint = JSONBlueprint("readiness", __name__, description="Whether payments can be taken safely")

#: Seconds for each check.
_TIMEOUT = 0.5

#: What the outbox may hold back before somebody should look.
_OUTBOX_AGE = timedelta(minutes=1)

_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}


class Amiss(Exception):
    """A dependency is not as it should be. The message is for operators and names no secret."""


def _mongodb(_settings: Settings) -> str:
    try:
        database().command("ping", maxTimeMS=int(_TIMEOUT * 1000))
    except PyMongoError as error:
        raise Amiss(type(error).__name__) from error
    return "answers"


def _redis(settings: Settings) -> str:
    with redis.Redis.from_url(
        settings.redis_url, socket_connect_timeout=_TIMEOUT, socket_timeout=_TIMEOUT
    ) as client:
        try:
            client.ping()
        except redis.RedisError as error:
            raise Amiss(type(error).__name__) from error
    return "answers"


def _broker(settings: Settings) -> str:
    parts = urlsplit(settings.rabbitmq_url)
    if parts.scheme not in _PORTS:
        return "in memory"
    try:
        address = (parts.hostname or "localhost", parts.port or _PORTS[parts.scheme])
        socket.create_connection(address, _TIMEOUT).close()
    except OSError as error:
        raise Amiss(error.strerror or type(error).__name__) from error
    return "listens"


def _gateway(settings: Settings) -> str:
    if not settings.payment_gateway_api_key.get_secret_value():
        raise Amiss("PAYMENT_GATEWAY_API_KEY is not set")
    return "live mode" if settings.gateway_live else "test mode"


def _outbox(_settings: Settings) -> str:
    try:
        waiting, since = backlog()
    except ServiceUnavailable as error:
        raise Amiss("unknown") from error
    detail = f"{waiting} transactions wait to announce their events"
    if since and since < utcnow() - _OUTBOX_AGE:
        raise Amiss(f"{detail}, the first since {iso(since)}")
    return detail if waiting else "empty"


#: Name → check, and whether payments can't be taken safely without it.
_CHECKS: dict[str, tuple[Callable[[Settings], str], bool]] = {
    "mongodb": (_mongodb, True),
    "redis": (_redis, False),
    "broker": (_broker, False),
    "gateway": (_gateway, True),
    "outbox": (_outbox, False),
}


@blueprint.route("/health/ready")
@blueprint.response(200, Readiness)
@blueprint.alt_response(503, schema=Readiness)
def ready() -> tuple[Response, int]:
    """Whether payments can be taken safely.

    Without Redis or the broker they can: events wait in the outbox.
    """
    settings = services().settings
    checks = {}
    safe = True
    for name, (check, needed) in _CHECKS.items():
        try:
            checks[name] = {"ok": True, "detail": check(settings)}
        except Amiss as amiss:
            checks[name] = {"ok": False, "detail": str(amiss)}
            safe = safe and not needed
    body = {"status": "ready" if safe else "not ready", "checks": checks}
    return jsonify(body), 200 if safe else 503
