"""Dead letters: messages that were refused or given up, kept beside their queue until a person decides."""

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

    Every method raises `ServiceUnavailable` if the broker does not answer, or others are at work here.
    """

    def count(self, queue: str) -> int:
        """How many lie beside `queue`."""

    def read(self, queue: str, *, ahead: int = 0) -> Generator[DeadLetter, None, None]:
        """Those that lie beside `queue`, oldest first. What is read stays where it is, and in its place.

        Args:
            queue: full name.
            ahead: letters that may wait in memory; 0, the quickest, is for who neither replays nor drops.
        """

    def replay(self, letter: DeadLetter) -> None:
        """Put a letter back onto its queue and, once it is safe there, remove the dead one.

        Whatever happens half way, it lies in one of the two places, or in both. Only while it is read.
        """

    def drop(self, letter: DeadLetter) -> None:
        """Remove a letter for good. Only while it is read."""

    def close(self) -> None:
        """Close the connections."""


def open_dead_letters(settings: Settings) -> DeadLetters:
    """Open the dead letters of the broker of `settings`. It connects when first used."""
    if settings.broker is Broker.RABBITMQ:
        return RabbitDeadLetters(settings.rabbitmq_url)
    return RedisDeadLetters(settings.rabbitmq_url, Topology.of(settings).redis_namespace)
