"""Dead letters: messages that were refused or abandoned, kept beside their queue until an operator handles
them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol

from app.messaging.dead_letters.letter import DeadLetter, QueueUnavailable
from app.messaging.dead_letters.rabbitmq import RabbitDeadLetters
from app.messaging.dead_letters.redis import RedisDeadLetters
from app.messaging.topology import Topology
from app.settings import Broker

if TYPE_CHECKING:
    from app.settings import Settings

__all__ = ["DeadLetter", "DeadLetters", "QueueUnavailable", "open_dead_letters"]


class DeadLetters(Protocol):
    """The dead letters of one broker; used by one thread.

    Every method raises `ServiceUnavailable` if the broker is unavailable, or another reader has the dead
    letters.
    """

    def count(self, queue: str) -> int:
        """Return the number of dead letters of `queue`."""

    def read(self, queue: str, *, ahead: int = 0) -> Generator[DeadLetter, None, None]:
        """Yield the dead letters of `queue`, oldest first, without moving them.

        Args:
            queue: full name.
            ahead: maximum number of dead letters to prefetch; 0, the fastest, only if none is replayed or
                dropped.
        """

    def replay(self, letter: DeadLetter) -> None:
        """Put a dead letter back onto its queue, then remove it from the dead letters.

        After an interruption, the message is in at least one of the two places. Call this only while reading.
        """

    def drop(self, letter: DeadLetter) -> None:
        """Delete a dead letter permanently. Call this only while reading."""

    def close(self) -> None:
        """Close the connections."""


def open_dead_letters(settings: Settings) -> DeadLetters:
    """Return the dead letters of the settings' broker. It connects at first use."""
    if settings.broker is Broker.RABBITMQ:
        return RabbitDeadLetters(settings.rabbitmq_url)
    return RedisDeadLetters(settings.rabbitmq_url, Topology.of(settings).redis_namespace)
