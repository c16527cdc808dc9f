"""Dead letters on RabbitMQ: the queue `.XQ` beside each queue.

A reader is the queue's only consumer and acknowledges only what it removes. When its channel closes
for any reason, RabbitMQ puts the rest back in place.
https://www.rabbitmq.com/docs/confirms#automatic-requeueing
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions

from app.errors import ServiceUnavailable, unavailable
from app.messaging import letter_headers
from app.messaging.dead_letters.letter import DeadLetter, QueueUnavailable
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import is_on_a_node_that_is_down

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

#: Seconds after which a reader restarts at its position, because RabbitMQ closes a consumer that does not
#: acknowledge a message within half an hour. https://www.rabbitmq.com/docs/consumers#acknowledgement-timeout
_SESSION_SECONDS = 60.0

#: Seconds to wait for the next dead letter.
_INACTIVITY_SECONDS = 10.0

#: AMQP counts a consumer's unacknowledged messages in 16 bits; 0 is no limit.
_MAX_UNACKNOWLEDGED = 0xFFFF

#: AMQP 0-9-1: reply code of a passive declaration of a queue that does not exist.
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
            # The limit includes the dead letters that stay, because RabbitMQ sends them first every time.
            limit = 2 * kept + ahead if ahead else 0
            ends = time.monotonic() + _SESSION_SECONDS
            with self._session(queue, limit) as (waiting, deliveries):
                if waiting <= kept:
                    return
                # New dead letters are not read, so that a message that fails again causes no endless loop.
                total = waiting if total is None else total
                for place, (method, properties, body) in zip(range(waiting), deliveries, strict=False):
                    if method is None:
                        raise ServiceUnavailable(
                            f"RabbitMQ did not send all dead letters of {queue}. Try again."
                        )
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
        # A separate connection: on the reader's, waiting for a confirm would read dead letters into memory.
        if self._publishing is None:
            self._publishing = pika.BlockingConnection(self._parameters).channel()
            self._publishing.confirm_delivery()
        return self._publishing

    @contextmanager
    def _session(self, queue: str, limit: int) -> Iterator[tuple[int, Iterator[Any]]]:
        """Yield the number of dead letters and an iterator over them; requeue them at the end.

        Args:
            queue: full name.
            limit: maximum number of unacknowledged messages; 0 for no limit.
        """
        with self._channel() as self._reading:
            channel = self._reading
            first = _first(channel, queue)
            if first is None:
                yield 0, iter(())
                return
            more = first[0].message_count
            channel.basic_qos(prefetch_count=limit if limit <= _MAX_UNACKNOWLEDGED else 0)
            rest = channel.consume(f"{queue}.XQ", exclusive=True, inactivity_timeout=_INACTIVITY_SECONDS)
            try:
                # Started immediately, so that a second command learns that one is running.
                yield 1 + more, chain([first, *islice(rest, min(more, 1))], rest)
            finally:
                if channel.is_open:
                    # Return all messages before the channel closes, because closing does not wait for that.
                    # After Ctrl-C in the middle of an acknowledgement, it may be sent twice. RabbitMQ then
                    # closes the channel and requeues everything.
                    with suppress(pika.exceptions.ChannelClosedByBroker):
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
    """Get the first dead letter. Its delivery has the number of the others. None if the queue is empty.

    A declaration would return while RabbitMQ is still requeuing another reader's messages. A get waits for
    that.
    """
    try:
        found = channel.queue_declare(f"{queue}.XQ", passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if is_on_a_node_that_is_down(error):
            raise QueueUnavailable(
                f"The dead letters of {queue} are on a node that is down. Start the node."
            ) from error
        if error.reply_code == _NOT_FOUND:
            return None
        raise
    if found.consumer_count:
        raise ServiceUnavailable(
            f"Another command or the dashboard is reading the dead letters of {queue}. Try again later."
        )
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
            f"The queue {queue} does not exist. Start a worker to declare the queue."
        ) from error
    except pika.exceptions.ChannelClosedByBroker as error:
        raise ServiceUnavailable(f"RabbitMQ refused the operation: {error.reply_text}") from error
    except (pika.exceptions.AMQPError, OSError) as error:
        raise unavailable("RabbitMQ", error) from error
