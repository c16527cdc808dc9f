"""One dead letter: what it was, and what goes back onto the queue when it is replayed."""

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

#: Options that a replay keeps. With the others, a message would start where it gave up, or obey a stranger.
_KEPT_OPTIONS = ("redis_message_id", tracing.TRACEPARENT)


class QueueUnavailable(ServiceUnavailable):
    """The dead letters of one queue can't be read now; those of others can."""


@dataclass(frozen=True)
class DeadLetter:
    """A message that nobody will try again by itself.

    Attributes:
        queue: full name of the queue it died on.
        body: as it lies there, byte for byte.
        died_at: when; None if the broker does not say.
        reason: why, as it was stored with the letter; None if the broker moved the message without us.
        origin: how RabbitMQ had routed it; None on Redis.
        handle: the broker's own word for it; means something only while the letters are read.
    """

    queue: str
    body: bytes
    died_at: datetime | None
    handle: Any = None
    reason: str | None = None
    origin: Origin | None = None

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same whenever it is listed. Copies of one body share them."""
        return hashlib.blake2b(self.body, digest_size=6).hexdigest()

    @property
    def misrouted(self) -> bool:
        """Whether its queue refuses it only for how it was routed, which a replay would hide."""
        if self.refusal is None or self.origin is None:
            return False
        try:
            self._accepted(Origin("", self.queue))
        except Refused:
            return False
        return True

    @property
    def actor(self) -> str | None:
        """The actor it was for; None if its queue does not accept it."""
        return self._message.actor_name if isinstance(self._message, Message) else None

    @property
    def refusal(self) -> str | None:
        """Why its queue does not accept it; None if it does."""
        return None if isinstance(self._message, Message) else self._message

    @property
    def event(self) -> dict[str, Any] | None:
        """The event it carries, if it carries one."""
        event = self._argument(NOTIFY)
        return event if isinstance(event, dict) else None

    @property
    def notification_id(self) -> str | None:
        """The delivery it asks for, if it asks for one."""
        notification_id = self._argument(*(channel.actor for channel in CHANNELS.values()))
        return notification_id if isinstance(notification_id, str) else None

    @property
    def first_error(self) -> str | None:
        """The error of its first try, if it was retried; Dramatiq keeps no later one."""
        if not isinstance(self._message, Message):
            return None
        lines = str(self._message.options.get("traceback") or "").strip().splitlines()
        return lines[-1] if lines else None

    @property
    def revived(self) -> bytes:
        """The body to put back onto `queue`: as it came, without what Dramatiq noted about its tries.

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
        """The message, or why there is none."""
        try:
            return self._accepted(self.origin)
        except Refused as refusal:
            return str(refusal)

    def _accepted(self, origin: Origin | None) -> Message[Any]:
        fields = accept(self.queue, self.body, origin, dead=True)
        return Message(**fields | {"args": tuple(fields["args"])})
