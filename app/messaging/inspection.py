"""Compare the queues on RabbitMQ with the declared topology."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pika
import pika.exceptions

from app.errors import unavailable
from app.messaging.queues import QUEUES
from app.messaging.rabbitmq import connection_parameters
from app.messaging.topology import Topology, is_on_a_node_that_is_down
from app.settings import Broker

if TYPE_CHECKING:
    from app.settings import Settings

_NOT_FOUND, _REFUSED = 404, 403

#: RabbitMQ checks the topic permissions of the `CC` and `BCC` headers since this version. Before, a user who
#: may publish one event may publish any (https://github.com/rabbitmq/rabbitmq-server/pull/12553).
MINIMUM_VERSION = (4, 0, 3)


@dataclass(frozen=True)
class QueueState:
    """The state of one queue.

    Attributes:
        name: full name.
        consumers: number of consumers.
        failure: RabbitMQ's error about a difference.
    """

    name: str
    declared: bool
    consumers: int = 0
    failure: str = ""


def server_version(settings: Settings) -> tuple[int, ...]:
    """Return RabbitMQ's version, such as (4, 1, 2); empty if unknown.

    Raises:
        ServiceUnavailable: RabbitMQ is unavailable.
    """
    try:
        with pika.BlockingConnection(connection_parameters(settings.rabbitmq_url)) as connection:
            said = connection._impl.server_properties.get("version", b"")
    except (pika.exceptions.AMQPError, OSError) as error:
        raise unavailable("RabbitMQ", error) from error
    words = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said)
    return tuple(map(int, re.findall(r"\d+", words)[:3]))


def inspect_queues(settings: Settings) -> Iterator[QueueState]:
    """Compare each queue on RabbitMQ with its declaration. Other brokers have no declarations.

    AMQP can't read a binding or an argument. So both are declared again, as a worker does. This creates
    missing bindings and changes nothing else.

    Raises:
        ServiceUnavailable: RabbitMQ is unavailable.
    """
    if settings.broker is not Broker.RABBITMQ:
        return
    topology = Topology.of(settings)
    try:
        with pika.BlockingConnection(connection_parameters(settings.rabbitmq_url)) as connection:
            for queue in QUEUES:
                yield _state(connection, topology, topology.queue(queue))
    except (pika.exceptions.AMQPError, OSError) as error:
        raise unavailable("RabbitMQ", error) from error


def _state(connection: pika.BlockingConnection, topology: Topology, name: str) -> QueueState:
    try:
        found = connection.channel().queue_declare(name, passive=True).method
    except pika.exceptions.ChannelClosedByBroker as error:
        if is_on_a_node_that_is_down(error):
            return QueueState(name, declared=True, failure="its node is down")
        if error.reply_code == _NOT_FOUND:
            return QueueState(name, declared=False)
        return QueueState(name, declared=True, failure=error.reply_text)
    try:
        topology.declare(connection.channel(), name)
    except pika.exceptions.ChannelClosedByBroker as error:
        if error.reply_code != _REFUSED:  # a user without the permission to declare can't find out
            return QueueState(name, declared=True, failure=error.reply_text)
    return QueueState(name, declared=True, consumers=found.consumer_count)
