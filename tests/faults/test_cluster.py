"""A cluster of three RabbitMQ nodes with quorum queues; one node is killed under load."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dramatiq
import pika
import pytest

from actors.declare import worker_broker
from app import models
from app.events.samples import sample
from app.messaging.publisher import OutgoingEvent, PublishError, make_publisher
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification
from app.settings import Settings
from tests.support.cluster import ClusterNode, cluster
from tests.support.commands import movieapp
from tests.support.mail import MailSink
from tests.support.wait import wait_for

BOOKINGS = "notification.booking_events"


@pytest.fixture
def nodes(rabbitmq_installed: None, server_dir: Path) -> Iterator[list[ClusterNode]]:
    with cluster(server_dir) as running:
        yield running


@contextmanager
def working(settings: Settings) -> Iterator[None]:
    """Run a worker in this process."""
    broker: Any = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=4)
    worker.start()
    try:
        yield
    finally:
        worker.stop()
        broker.close()


def test_a_node_killed_under_load_loses_nothing_and_stranded_queues_are_named(
    nodes: list[ClusterNode], stored_settings: Settings, mail_sink: MailSink
) -> None:
    stays, dies = nodes[0], nodes[1]
    mail = mail_sink.settings | {"rabbitmq_queue_type": "quorum"}
    settings = stored_settings.model_copy(update=mail | {"rabbitmq_url": stays.url})
    models.connect(settings)
    topology = Topology.of(settings)
    # Leaders and classic queues are on the node that received their declaration.
    with pika.BlockingConnection(pika.URLParameters(dies.url)) as connection:
        for queue in QUEUES:
            topology.declare(connection.channel(), topology.queue(queue))
        broken = json.dumps({"event_type": "booking.confirmed"}).encode()
        connection.channel().basic_publish(settings.rabbitmq_exchange, "booking.confirmed", broken)

    with closing(make_publisher(settings)) as publisher:

        def publish(number: int) -> None:
            own = {"booking_id": f"BOOK-{number}", "user_email": f"user{number}@example.com"}
            event = sample("booking.confirmed") | {"event_id": f"evt_{number}"} | own
            outgoing = OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event))

            def is_confirmed() -> bool:
                # Publish repeatedly until the broker confirms, as the outbox does.
                try:
                    publisher.publish(outgoing)
                except PublishError:
                    return False
                return True

            wait_for(is_confirmed, 90, f"event {number} was never confirmed")

        with working(settings):
            for number in range(20):
                publish(number)
            dies.kill()
            for number in range(20, 40):
                publish(number)
        with working(settings):  # restarted while the node is down
            for number in range(40, 60):
                publish(number)
            sent = Notification.objects(status="sent")
            wait_for(lambda: sent.count() == 60, 120, lambda: f"{sent.count()} of 60 sent")

    assert len(mail_sink.mails) == 60, "none lost, none doubled"
    listed = movieapp(settings, "dead-letters", "list", "--json")
    assert listed.returncode == 1
    assert "Queues not read, because their node is down:" in listed.stderr
    assert BOOKINGS in listed.stderr
    assert json.loads(listed.stdout) == []
    counted = movieapp(settings, "check", "--json")
    assert "is on a node that is down" in counted.stdout

    dies.start()

    def is_complete() -> bool:
        again = movieapp(settings, "dead-letters", "list", "--json")
        return again.returncode == 0 and len(json.loads(again.stdout)) == 1

    wait_for(is_complete, 90, "the dead letter is not listed")
