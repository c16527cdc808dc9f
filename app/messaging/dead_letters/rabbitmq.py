"""Dead letters on RabbitMQ: the queue `.XQ` beside each queue.

A reader is the queue's only consumer and acknowledges nothing but what it removes. When its channel closes,
in order or because the process died, RabbitMQ puts the rest back into its place.
https://www.rabbitmq.com/docs/confirms#automatic-requeueing
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions

from app.errors import ServiceUnavailable
from app.messaging import letter_headers
from app.messaging.dead_letters.letter import DeadLetter, QueueUnavailable
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import is_on_a_node_that_is_down

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

#: Seconds after which a reader starts anew where it is: RabbitMQ ends a consumer that holds on to a message
#: for half an hour. https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
_SESSION = 60.0

#: Seconds without a letter although there are more.
_INACTIVITY_SECONDS = 10.0

#: AMQP counts a consumer's unacknowledged messages in 16 bits; 0 is no limit.
_MOST_UNACKNOWLEDGED = 0xFFFF

#: AMQP 0-9-1: reply code of a passive declaration of what is not there.
_NOT_FOUND = 404


class RabbitDeadLetters:
    """See `DeadLetters`.

    Args:
        url: amqp(s)://…
    """

    def __init__(self, url: str) -> None:
        self._parameters = connection_parameters(url)
        self._publishing: BlockingChannel | None = None
        self._reading: BlockingChannel | None = None
        self._removed = 0

    def count(self, queue: str) -> int:
        with self._session(queue, 1) as (waiting, _):
            return waiting

    def read(self, queue: str, *, ahead: int = 0) -> Generator[DeadLetter, None, None]:
        seen, total, self._removed = 0, None, 0
        while total is None or seen < total:
            kept = seen - self._removed
            # Those that stay have to fit as well: RabbitMQ sends them first, every time.
            limit = 2 * kept + ahead if ahead else 0
            ends = time.monotonic() + _SESSION
            with self._session(queue, limit) as (waiting, deliveries):
                if waiting <= kept:
                    return
                # What dies from now on is not looked at, so that a letter which dies again ends no loop.
                total = waiting if total is None else total
                for place, (method, properties, body) in zip(range(waiting), deliveries, strict=False):
                    if method is None:
                        raise ServiceUnavailable(f"RabbitMQ sends no more of the dead letters of {queue}.")
                    if place < kept:
                        continue
                    seen += 1
                    yield DeadLetter(
                        queue,
                        body,
                        letter_headers.died_at(properties),
                        (method.delivery_tag, properties),
                        letter_headers.reason(properties),
                        letter_headers.origin(properties),
                    )
                    if seen in (total, self._removed + limit) or time.monotonic() > ends:
                        break

    def replay(self, letter: DeadLetter) -> None:
        _, properties = letter.handle
        with _failures():
            self._open().basic_publish(
                "",
                letter.queue,
                letter.revived,
                letter_headers.original_properties(properties),
                mandatory=True,
            )
        self.drop(letter)

    def drop(self, letter: DeadLetter) -> None:
        tag, _ = letter.handle
        assert self._reading is not None  # noqa: S101 - for the type checker
        with _failures():
            self._reading.basic_ack(tag)
        self._removed += 1

    def close(self) -> None:
        if self._publishing is not None and self._publishing.is_open:
            with _failures():
                self._publishing.connection.close()

    def _open(self) -> BlockingChannel:
        # A connection of its own: on the reader's, waiting for a confirm would read letters into memory.
        if self._publishing is None:
            self._publishing = pika.BlockingConnection(self._parameters).channel()
            self._publishing.confirm_delivery()
        return self._publishing

    @contextmanager
    def _session(self, queue: str, limit: int) -> Iterator[tuple[int, Iterator[Any]]]:
        """How many letters wait, and them; afterwards they wait again.

        Args:
            queue: full name.
            limit: of unacknowledged letters; 0 is none.
        """
        with self._channel() as self._reading:
            channel = self._reading
            first = _first(channel, queue)
            if first is None:
                yield 0, iter(())
                return
            more = first[0].message_count
            channel.basic_qos(prefetch_count=limit if limit <= _MOST_UNACKNOWLEDGED else 0)
            rest = channel.consume(f"{queue}.XQ", exclusive=True, inactivity_timeout=_INACTIVITY_SECONDS)
            try:
                # Begun at once: who comes now is told that somebody is here.
                yield 1 + more, chain([first, *islice(rest, min(more, 1))], rest)
            finally:
                if channel.is_open:
                    # Everything is on its way back before the channel closes, which does not wait for that.
                    channel.cancel()
                    channel.basic_recover(requeue=True)

    @contextmanager
    def _channel(self) -> Iterator[BlockingChannel]:
        with _failures():
            connection = pika.BlockingConnection(self._parameters)
            try:
                yield connection.channel()
            finally:
                if connection.is_open:
                    connection.close()


def _first(channel: BlockingChannel, queue: str) -> Any:
    """Take the first letter, whose delivery says how many there are besides; None if there is none.

    RabbitMQ answers a declaration at once, also while it still puts back what another reader has let go of.
    A get waits its turn.
    """
    try:
        found = channel.queue_declare(f"{queue}.XQ", passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if is_on_a_node_that_is_down(error):
            raise QueueUnavailable(f"The dead letters of {queue} are on a node that is down.") from error
        if error.reply_code == _NOT_FOUND:
            return None
        raise
    if found.consumer_count:
        raise ServiceUnavailable(f"Another command is at the dead letters of {queue}. Please try again soon.")
    first = channel.basic_get(f"{queue}.XQ")
    return first if first[0] else None


@contextmanager
def _failures() -> Iterator[None]:
    """Turn RabbitMQ's failures into `ServiceUnavailable`."""
    try:
        yield
    except pika.exceptions.UnroutableError as error:
        queue = error.messages[0].method.routing_key
        raise ServiceUnavailable(
            f"There is no queue {queue}; start a worker once, it declares it."
        ) from error
    except pika.exceptions.ChannelClosedByBroker as error:
        raise ServiceUnavailable(f"RabbitMQ refused: {error.reply_text}") from error
    except (pika.exceptions.AMQPError, OSError) as error:
        raise ServiceUnavailable(f"RabbitMQ does not answer ({type(error).__name__}).") from error
