"""Publish batches of messages to RabbitMQ with publisher confirms.

pika's BlockingChannel waits for the confirm of each message before it takes the next one: one round trip, and
one flush to the broker's disk, for each. This module writes and confirms a whole batch at once, on pika's
asynchronous connection. One thread owns the connection.
https://www.rabbitmq.com/docs/confirms#publisher-confirms
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any

import pika
from pika import spec
from pika.adapters.select_connection import IOLoop

if TYPE_CHECKING:
    from pika.channel import Channel

#: Seconds without a response after which the broker counts as unavailable; longer than a resource alarm may
#: block it.
CONFIRM_TIMEOUT_SECONDS = 15

#: Seconds to wait for the connection to close.
_CLOSE_TIMEOUT_SECONDS = 2

#: Why the broker did not accept a message.
UNROUTABLE = "no queue is bound to its routing key: start a worker, which declares the queues"
_NACKED = "RabbitMQ rejected it (basic.nack)"


@dataclass(frozen=True)
class Message:
    """A message to publish. `properties.message_id` is unique in its batch."""

    routing_key: str
    body: bytes
    properties: pika.BasicProperties


class ConfirmChannel:
    """An open channel in confirm mode, with its own connection. Belongs to one thread.

    Args:
        parameters: address and timeouts of the connection.

    Raises:
        pika.exceptions.AMQPError, OSError: not connected.
    """

    def __init__(self, parameters: pika.URLParameters) -> None:
        self._channel: Channel | None = None
        self._failure: BaseException | None = None
        self._published = 0
        self._unconfirmed: dict[int, str] = {}
        self._refused: dict[str, str] = {}
        self._loop = IOLoop()
        self._loop.activate_poller()
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=lambda connection: connection.channel(on_open_callback=self._opened),
            on_open_error_callback=self._failed,
            on_close_callback=self._failed,
            custom_ioloop=self._loop,
        )
        try:
            self._wait_until(lambda: self._channel is not None)
        except BaseException:
            self.close()
            raise

    def publish(self, exchange: str, messages: Sequence[Message]) -> dict[str, str]:
        """Publish `messages`, mandatory, and wait until each is confirmed, returned or refused.

        Returns:
            Id → reason, for the messages that the broker did not accept.

        Raises:
            pika.exceptions.AMQPError, OSError: the connection is lost; any of the messages may have arrived.
        """
        assert self._channel  # noqa: S101 - for the type checker
        self._refused = {}
        if self._failure:
            raise self._failure
        for message in messages:
            self._published += 1
            self._unconfirmed[self._published] = str(message.properties.message_id)
            self._channel.basic_publish(
                exchange, message.routing_key, message.body, message.properties, mandatory=True
            )
        self._wait_until(lambda: not self._unconfirmed)
        return self._refused

    def keep_alive(self) -> None:
        """Respond to heartbeats.

        Raises:
            pika.exceptions.AMQPError, OSError: the connection is lost.
        """
        self._loop.call_later(0, lambda: None)  # so that closing does not wait
        self._turn()
        if self._failure:
            raise self._failure

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        if not (self._connection.is_closed or self._connection.is_closing):
            self._connection.close()
        ends = time.monotonic() + _CLOSE_TIMEOUT_SECONDS
        self._loop.call_later(_CLOSE_TIMEOUT_SECONDS, lambda: None)
        while not self._connection.is_closed and time.monotonic() < ends:
            self._turn()
        self._loop.deactivate_poller()
        self._loop.close()

    def _opened(self, channel: Channel) -> None:
        channel.add_on_close_callback(self._failed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: setattr(self, "_channel", channel))

    def _failed(self, _channel: object, reason: BaseException | str) -> None:
        self._failure = self._failure or (
            reason if isinstance(reason, BaseException) else ConnectionError(str(reason))
        )

    def _returned(
        self, _channel: Channel, _method: spec.Basic.Return, properties: pika.BasicProperties, _body: bytes
    ) -> None:
        # RabbitMQ sends it before the message's confirm.
        self._refused[str(properties.message_id)] = UNROUTABLE

    def _confirmed(self, frame: Any) -> None:
        method: spec.Basic.Ack | spec.Basic.Nack = frame.method
        tags = [method.delivery_tag]
        if method.multiple:
            # They are in ascending order: the batch may be large, and has many confirms.
            tags = list(takewhile(lambda tag: tag <= method.delivery_tag, self._unconfirmed))
        for tag in tags:
            message_id = self._unconfirmed.pop(tag)
            if isinstance(method, spec.Basic.Nack):
                self._refused[message_id] = _NACKED

    def _wait_until(self, done: Callable[[], bool]) -> None:
        late = ConnectionError(f"RabbitMQ did not respond within {CONFIRM_TIMEOUT_SECONDS} s")
        timer = self._loop.call_later(CONFIRM_TIMEOUT_SECONDS, lambda: self._failed(None, late))
        while not done():
            if self._failure:
                raise self._failure
            self._turn()
        self._loop.remove_timeout(timer)

    def _turn(self) -> None:
        self._loop.poll()
        self._loop.process_timeouts()
