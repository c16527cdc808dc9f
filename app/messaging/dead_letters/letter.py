"""One dead letter: its message, and what a replay puts onto the queue."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from dramatiq.common import q_name
from dramatiq.message import Message

from app.channels import CHANNELS
from app.errors import ServiceUnavailable
from app.messaging.queues import NOTIFY
from app.messaging.wire import Origin, Refused, accept, dumps
from app.telemetry import tracing

#: Options that a replay keeps. The others would continue the old retries, or come from an untrusted
#: publisher.
_KEPT_OPTIONS = ("redis_message_id", tracing.TRACEPARENT)


class QueueUnavailable(ServiceUnavailable):
    """The dead letters of one queue can't be read now. Those of other queues can."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that no worker will try again.

    Attributes:
        queue: full name of its queue.
        body: the stored body, byte for byte.
        died_at: when it became a dead letter; None if the broker does not say.
        reason: the stored reason; None if the broker moved the message.
        origin: how RabbitMQ routed the message; None on Redis.
        handle: the broker's reference, valid only while the dead letters are read.
    """

    queue: str
    body: bytes
    died_at: datetime | None
    handle: Any = None
    reason: str | None = None
    origin: Origin | None = None

    @cached_property
    def id(self) -> str:
        """Return a stable id of twelve hexadecimal digits. Copies of one body share it."""
        return hashlib.blake2b(self.body, digest_size=6).hexdigest()

    @property
    def is_misrouted(self) -> bool:
        """Return whether the queue refuses it only for its routing, which a replay would hide."""
        if self.refusal is None or self.origin is None:
            return False
        try:
            self._accepted(Origin("", self.queue))
        except Refused:
            return False
        return True

    @property
    def actor(self) -> str | None:
        """Return the message's actor; None if the queue does not accept the message."""
        return self._message.actor_name if isinstance(self._message, Message) else None

    @property
    def refusal(self) -> str | None:
        """Return why the queue does not accept it; None if it does."""
        return None if isinstance(self._message, Message) else self._message

    @property
    def event(self) -> dict[str, Any] | None:
        """Return the event in the message, if any."""
        event = self._argument(NOTIFY)
        return event if isinstance(event, dict) else None

    @property
    def notification_id(self) -> str | None:
        """Return the id of the message's delivery, if any."""
        notification_id = self._argument(*(channel.actor for channel in CHANNELS.values()))
        return notification_id if isinstance(notification_id, str) else None

    @property
    def first_error(self) -> str | None:
        """Return the error of the first attempt, if it was retried. Dramatiq keeps no later error."""
        if not isinstance(self._message, Message):
            return None
        lines = str(self._message.options.get("traceback") or "").strip().splitlines()
        return lines[-1] if lines else None

    @property
    def revived(self) -> bytes:
        """Return the body to put back onto `queue`: the original, without Dramatiq's data on attempts.

        On RabbitMQ, an event goes back bare.
        """
        message = self._message
        if not isinstance(message, Message) or not message.queue_name:
            return self.body
        if self.event is not None and self.origin is not None:
            return dumps(self.event).encode("utf-8", "replace")
        options = {name: value for name, value in message.options.items() if name in _KEPT_OPTIONS}
        fresh = replace(message, queue_name=q_name(message.queue_name), options=options)
        return fresh.encode()

    def _argument(self, *actors: str) -> object:
        message = self._message
        if isinstance(message, Message) and message.actor_name in actors and message.args:
            return message.args[0]
        return None

    @cached_property
    def _message(self) -> Message[Any] | str:
        """Return the message, or why it can't be read."""
        try:
            return self._accepted(self.origin)
        except Refused as refusal:
            return str(refusal)

    def _accepted(self, origin: Origin | None) -> Message[Any]:
        fields = accept(self.queue, self.body, origin, dead=True)
        return Message(**fields | {"args": tuple(fields["args"])})
