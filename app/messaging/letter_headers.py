"""The AMQP headers of a dead letter: reason, time, and original routing."""

from __future__ import annotations

from copy import copy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pika

from app.clock import utcnow
from app.messaging.wire import Origin

if TYPE_CHECKING:
    from app.messaging.rabbitmq import Delivery

_PREFIX = "movieapp-"
_REASON, _DIED_AT = f"{_PREFIX}reason", f"{_PREFIX}died-at"
_EXCHANGE, _ROUTING_KEY = f"{_PREFIX}exchange", f"{_PREFIX}routing-key"

#: Headers that route a message to additional queues.
_ROUTING_HEADERS = ("CC", "BCC")


def letter_properties(delivery: Delivery, reason: str) -> pika.BasicProperties:
    """Return the properties of the dead letter of `delivery`."""
    letter = original_properties(delivery.properties)
    letter.headers |= {
        _REASON: reason,
        _DIED_AT: utcnow(),
        _EXCHANGE: delivery.origin.exchange,
        _ROUTING_KEY: delivery.origin.routing_key,
    }
    return letter


def original_properties(properties: pika.BasicProperties) -> pika.BasicProperties:
    """Return the publisher's properties, made persistent, without routing, expiry, and added headers."""
    original = copy(properties)
    original.delivery_mode = pika.DeliveryMode.Persistent.value
    original.expiration = None
    # RabbitMQ refuses a message whose user differs from the connection's.
    original.user_id = None
    original.headers = {
        name: value
        for name, value in (properties.headers or {}).items()
        if not str(name).startswith(("x-", _PREFIX)) and name not in _ROUTING_HEADERS
    }
    return original


def reason(properties: pika.BasicProperties) -> str | None:
    """Return the reason; None if RabbitMQ moved the message."""
    found = (properties.headers or {}).get(_REASON)
    return found if isinstance(found, str) else None


def died_at(properties: pika.BasicProperties) -> datetime | None:
    """Return when it became a dead letter, to the second; None if unknown."""
    headers = properties.headers or {}
    moment = headers.get(_DIED_AT, _x_death(headers).get("time"))
    return _aware(moment) if isinstance(moment, datetime) else None


def origin(properties: pika.BasicProperties) -> Origin:
    """Return how the message was routed to its queue."""
    headers = properties.headers or {}
    if _EXCHANGE in headers:
        return Origin(str(headers[_EXCHANGE]), str(headers.get(_ROUTING_KEY, "")))
    death = _x_death(headers)
    keys = death.get("routing-keys") or [""]
    return Origin(str(death.get("exchange", "")), str(keys[0]))


def _x_death(headers: dict[str, Any]) -> dict[str, Any]:
    """Return RabbitMQ's record of a moved message: https://www.rabbitmq.com/docs/dlx#effects"""
    match headers.get("x-death"):
        case [dict() as newest, *_]:
            return newest
    return {}


def _aware(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
