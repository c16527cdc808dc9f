"""One dead letter: what it was, and what goes back onto the queue when it is replayed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

from dramatiq.common import q_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from app.channels import CHANNELS
from app.messaging.encoder import EventEncoder
from app.messaging.queues import NOTIFY

#: What Dramatiq noted on the way to the dead letters; with it, a message would start where it gave up.
_LEFT_BEHIND = ("retries", "traceback", "requeue_timestamp", "eta")


@dataclass(frozen=True)
class DeadLetter:
    """A message that nobody will try again by itself.

    Attributes:
        queue: full name of the queue it died on.
        body: as it lies there, byte for byte.
        died_at: when; None if the broker does not say.
        handle: the broker's own word for it; means something only while the letters are read.
    """

    queue: str
    body: bytes
    died_at: datetime | None
    handle: Any = None

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same whenever it is listed. Copies of one body share them."""
        return hashlib.blake2b(self.body, digest_size=6).hexdigest()

    @property
    def actor(self) -> str | None:
        """The actor it was for; None for a body that never decoded."""
        return self._message.actor_name if isinstance(self._message, Message) else None

    @property
    def undecodable(self) -> str | None:
        """Why the body is no message; None if it is one."""
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
        """The body to put back onto `queue`: as it came, without what Dramatiq noted about its tries."""
        message = self._message
        if not isinstance(message, Message) or not message.queue_name:
            return self.body
        options = {name: value for name, value in message.options.items() if name not in _LEFT_BEHIND}
        fresh = replace(message, queue_name=q_name(message.queue_name), options=options)
        return EventEncoder().encode(fresh.asdict())

    def _argument(self, *actors: str) -> object:
        message = self._message
        if isinstance(message, Message) and message.actor_name in actors and message.args:
            return message.args[0]
        return None

    @cached_property
    def _message(self) -> Message[Any] | str:
        """The message, or why there is none."""
        try:
            fields = EventEncoder().decode(self.body)
            message: Message[Any] = Message(**{**fields, "args": tuple(fields["args"])})
        except DecodeError as error:
            return str(error.error or error)
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            return f"{type(error).__name__}: {error}"
        return message
