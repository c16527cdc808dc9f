"""The wire format of messages, and which messages a queue accepts.

An event queue accepts bare events, which other services publish. A channel queue accepts movieapp's Dramatiq
messages for its actor. They are kept apart, because Dramatiq obeys the options of any message: sixteen
messages with an `eta` ten years ahead would block a consumer for ten years.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

from dramatiq.encoder import MessageData
from dramatiq.message import generate_unique_id

from app.channels import CHANNELS, Channel
from app.events.decode import InvalidEvent, decode_event, shown_name
from app.messaging.queues import EVENT_QUEUES, NOTIFY
from app.telemetry import tracing

#: Size limit of our own messages. The largest is a retried event: escaped, with a traceback.
MAX_MESSAGE_BYTES = 2_097_152

#: Maximum delay of a message's `eta`. Our longest delay is 14 minutes; the rest allows for clock differences.
MAX_DELAY_SECONDS = 3_600

_FIELDS = {"queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"}

#: Options that retries, brokers, and tracing add to a message.
_OPTIONS = {"retries", "traceback", "requeue_timestamp", "eta", "redis_message_id", tracing.TRACEPARENT}


class Refused(Exception):
    """A queue does not accept this message. The text is the reason, on one printable line."""


@dataclass(frozen=True)
class Origin:
    """How RabbitMQ routed a message to its queue.

    Attributes:
        exchange: empty for the default exchange, where only movieapp's users may publish
            (docs/rabbitmq-access.md).
        routing_key: the publisher's routing key, also if `CC` or `BCC` routed the message.
    """

    exchange: str
    routing_key: str


def event_message(event: dict[str, Any]) -> MessageData:
    """Return the Dramatiq message that passes `event` to the actor `notify`. Its id is the event's id, if
    any.

    The queue's name is empty: the consumer or the broker sets it.
    """
    event_id = event.get("event_id")
    return {
        "queue_name": "",
        "actor_name": NOTIFY,
        "args": [event],
        "kwargs": {},
        "options": {},
        "message_id": event_id if isinstance(event_id, str) and event_id else generate_unique_id(),
        "message_timestamp": int(time.time() * 1000),
    }


def accept(queue: str, body: bytes, origin: Origin | None, *, dead: bool = False) -> MessageData:
    """Return the message in `body`, if `queue` accepts it.

    Args:
        queue: full name of an event queue or a channel queue.
        body: the published body.
        origin: how RabbitMQ routed it; None on a broker that only this program writes to (Redis, memory).
        dead: the message is a dead letter: a replay omits its options.

    Raises:
        Refused: the message is neither an event nor a message of movieapp.
    """
    family = next((family for family, name in EVENT_QUEUES.items() if queue.endswith(name)), None)
    if family:
        return _event(family, body, origin, dead)
    channel = next((row for row in CHANNELS.values() if queue.endswith(row.queue)), None)
    if channel:
        return _delivery(channel, body, dead)
    raise Refused(f"no actor consumes the queue {shown_name(queue)}")


def _event(family: str, body: bytes, origin: Origin | None, dead: bool) -> MessageData:
    if origin is None or not origin.exchange:
        own = _own_message(body, dead)
        # On RabbitMQ, `notify` is only ever enqueued to be retried.
        if own and _is_for_notify(own) and (origin is None or own["options"].get("retries")):
            return own
    try:
        event = decode_event(body)
    except InvalidEvent as error:
        raise Refused(str(error)) from None
    if "actor_name" in event and "queue_name" in event:
        raise Refused("the body is a Dramatiq message: publish the event as plain JSON")
    event_type = event.get("event_type")
    if not isinstance(event_type, str):
        raise Refused("the field event_type is missing or not a string")
    if origin and origin.exchange and origin.routing_key != event_type:
        # RabbitMQ checks who may publish under which routing key, so the body must not say otherwise.
        raise Refused(
            f"the event_type {shown_name(event_type)} differs from the routing key "
            f"{shown_name(origin.routing_key)}"
        )
    if event_type.partition(".")[0] != family:
        raise Refused(f"this queue accepts {family}.* events, not {shown_name(event_type)}")
    return event_message(event)


def _is_for_notify(message: MessageData) -> bool:
    match message["args"]:
        case [dict()]:
            return bool(message["actor_name"] == NOTIFY and not message["kwargs"])
    return False


def _delivery(channel: Channel, body: bytes, dead: bool) -> MessageData:
    own = _own_message(body, dead)
    if own is None:
        raise Refused("the body is not a movieapp message")
    if own["actor_name"] != channel.actor:
        raise Refused(f"this queue accepts only messages for the actor {channel.actor}")
    match own["args"]:
        case [str()] if own["kwargs"].keys() <= {"given_up"}:
            return own
    raise Refused(f"a message for the actor {channel.actor} must contain exactly one notification id")


def _own_message(body: bytes, dead: bool) -> MessageData | None:
    """Return the Dramatiq message in `body`, or None if it is not from movieapp."""
    if len(body) > MAX_MESSAGE_BYTES:
        return None
    try:
        message: Any = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    if not isinstance(message, dict) or message.keys() != _FIELDS:
        return None
    match message:
        case {
            "actor_name": str(),
            "args": list(),
            "kwargs": dict(),
            "options": dict() as options,
            "message_id": str(),
            "message_timestamp": int() | float(),
        } if dead or (options.keys() <= _OPTIONS and _is_soon(options.get("eta", 0))):
            found: MessageData = message
            return found
    return None


def _is_soon(eta: object) -> bool:
    """Return whether a delay ends within `MAX_DELAY_SECONDS`. `eta` is in milliseconds since 1970."""
    return isinstance(eta, int | float) and eta <= (time.time() + MAX_DELAY_SECONDS) * 1_000


def dumps(value: Any) -> str:
    """Return `value` as compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
