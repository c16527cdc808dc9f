"""The users created by deploy/rabbitmq/access.sh, on a separate RabbitMQ node."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pika
import pika.exceptions
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from app import create_app, models
from app.events import samples
from app.messaging.publisher import OutgoingEvent, PublishError, RabbitPublisher
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification, Transaction
from app.settings import Settings
from tests.support.commands import environment, movieapp
from tests.support.mail import MailSink
from tests.support.processes import Process
from tests.support.servers import RabbitServer, amqp_error
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]
PASSWORDS = {
    "RABBITMQ_PUBLISHER_PASSWORD": "password-of-the-publisher",
    "RABBITMQ_PAYMENTS_PASSWORD": "password_of_the_payments",
    "RABBITMQ_WORKER_PASSWORD": "0123456789abcdef",
}
PUBLISHER, PAYMENTS, WORKER = "booking-service", "payment-service", "notification-service"
BY_USER = dict(zip((PUBLISHER, PAYMENTS, WORKER), PASSWORDS.values(), strict=True))


@pytest.fixture(scope="module")
def node(rabbitmq_installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitServer]:
    """One node for all these tests, because none stops it and their names differ."""
    server = RabbitServer(tmp_path_factory.mktemp("rabbitmq"))
    server.start()
    yield server
    server.stop()


def run_script(node: RabbitServer, **variables: str) -> subprocess.CompletedProcess[str]:
    env = dict(node.environment())
    # Debian's wrapper switches the user and drops the node's name; the underlying script does not.
    env["PATH"] = f"/usr/lib/rabbitmq/bin:{env['PATH']}"
    return subprocess.run(
        [ROOT / "deploy" / "rabbitmq" / "access.sh"],
        env=env | variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def topology(node: RabbitServer, settings: Settings) -> Topology:
    """The names of this test's deployment, which the script grants to the users."""
    names = {"RABBITMQ_EXCHANGE": settings.rabbitmq_exchange, "NAMESPACE": settings.namespace}
    done = run_script(node, **PASSWORDS, **names)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not any(password in done.stdout + done.stderr for password in PASSWORDS.values())
    return Topology.of(settings)


@pytest.fixture
def url(node: RabbitServer) -> Callable[[str], str]:
    return lambda user: f"amqp://{user}:{BY_USER[user]}@127.0.0.1:{node.port}/%2F"


@pytest.fixture
def channel(topology: Topology, url: Callable[[str], str]) -> Iterator[Callable[[str], BlockingChannel]]:
    """Opens a channel as a user."""
    connections: dict[str, pika.BlockingConnection] = {}

    def channel(user: str) -> BlockingChannel:
        if user not in connections:
            connections[user] = pika.BlockingConnection(pika.URLParameters(url(user)))
        found = connections[user].channel()
        found.confirm_delivery()
        return found

    yield channel
    for connection in connections.values():
        connection.close()


@pytest.fixture
def declared(topology: Topology, channel: Callable[[str], BlockingChannel]) -> Topology:
    """The worker's declarations."""
    worker = channel(WORKER)
    for queue in QUEUES:
        topology.declare(worker, topology.queue(queue))
    return topology


#: Operations that neither publishing user may do.
FORBIDDEN: dict[str, Callable[[BlockingChannel, Topology], Any]] = {
    "publish other events": lambda channel, names: channel.basic_publish(names.exchange, "bookings", b"{}"),
    "put a message onto a queue": lambda channel, names: channel.basic_publish(
        "", names.queue("notification.email"), b"{}"
    ),
    "consume": lambda channel, names: channel.basic_get(names.queue("notification.booking_events")),
    "read dead letters": lambda channel, names: channel.basic_get(names.queue("notification.email.XQ")),
    "declare a queue": lambda channel, names: channel.queue_declare("mine"),
    "declare a queue of its own naming": lambda channel, names: channel.queue_declare(""),
    "declare the exchange": lambda channel, names: channel.exchange_declare(
        names.exchange, "topic", durable=True
    ),
    "delete a queue": lambda channel, names: channel.queue_delete(names.queue("notification.sms")),
    "purge a queue": lambda channel, names: channel.queue_purge(names.queue("notification.sms")),
    "bind a queue": lambda channel, names: channel.queue_bind(
        names.queue("notification.sms"), names.exchange, "booking.*"
    ),
}


def refused(act: Callable[[], Any], what: str = "") -> None:
    """Fails the test unless RabbitMQ refuses `act` for lack of permission."""
    with pytest.raises(pika.exceptions.ChannelClosedByBroker) as closed:
        act()
    assert closed.value.reply_code == 403, what


def test_the_publisher_can_publish_only_booking_events(
    declared: Topology, channel: Callable[[str], BlockingChannel]
) -> None:
    channel(PUBLISHER).basic_publish(declared.exchange, "booking.confirmed", b"{}", mandatory=True)
    refused(lambda: channel(PUBLISHER).basic_publish(declared.exchange, "payment.success", b"{}"))
    for what, act in FORBIDDEN.items():
        refused(partial(act, channel(PUBLISHER), declared), what)
    queue = declared.queue("notification.booking_events")
    assert channel(WORKER).queue_declare(queue, passive=True).method.message_count == 1


def test_the_payment_service_can_publish_its_outbox(
    declared: Topology,
    channel: Callable[[str], BlockingChannel],
    url: Callable[[str], str],
    stored_settings: Settings,
    stripe_simulator: StripeSimulator,
) -> None:
    settings = stored_settings.model_copy(update={"rabbitmq_url": url(PAYMENTS)} | stripe_simulator.settings)
    app = create_app(settings)
    payment = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 25.5, "payment_method": "credit_card"}
    response = app.test_client().post("/payment/process", json=payment)
    assert response.status_code == 200
    wait_for(lambda: not Transaction.objects.get().outbox, 10, "the event was not published")
    app.extensions["movieapp"].relay.close(timeout=10)
    models.disconnect()

    _, _, body = channel(WORKER).basic_get(declared.queue("notification.payment_events"), auto_ack=True)
    assert body is not None
    assert json.loads(body)["transaction_id"] == response.json["transaction_id"]

    publisher = RabbitPublisher(settings)
    with pytest.raises(PublishError, match="ACCESS_REFUSED"):
        publisher.publish(OutgoingEvent("evt_1", "booking.confirmed", "{}"))
    publisher.close()
    for what, act in FORBIDDEN.items():
        refused(partial(act, channel(PAYMENTS), declared), what)


def sample(name: str, event_id: str) -> dict[str, Any]:
    return samples.sample(name) | {"event_id": event_id}


def test_the_worker_can_declare_consume_retry_and_dead_letter(
    topology: Topology,
    channel: Callable[[str], BlockingChannel],
    url: Callable[[str], str],
    stored_settings: Settings,
    mail_sink: MailSink,
    tmp_path: Path,
) -> None:
    settings = stored_settings.model_copy(update=mail_sink.settings | {"rabbitmq_url": url(WORKER)})
    models.connect(settings)
    mail_sink.replies = ["451 4.7.1 greylisted, come back later"]
    command = [sys.executable, "-m", "cli.main", "worker", "--threads", "2"]

    def published(event: dict[str, Any]) -> bool:
        try:
            body = json.dumps(event)
            channel(PUBLISHER).basic_publish(topology.exchange, event["event_type"], body, mandatory=True)
        except (pika.exceptions.ChannelClosedByBroker, pika.exceptions.UnroutableError):
            return False  # the worker has not declared everything yet
        return True

    with Process(command, tmp_path / "worker.log", env=environment(settings)) as worker:
        worker.wait_until(lambda: published(sample("booking.cancelled", "evt_1")))
        assert published(sample("booking.cancelled", "evt_2") | {"seats": "A1"})
        worker.wait_until(lambda: Notification.objects(event_id="evt_1", status="sent").first())
        dead = topology.queue("notification.booking_events.XQ")
        watching = channel(WORKER)
        worker.wait_until(lambda: watching.queue_declare(dead, passive=True).method.message_count == 1)
    assert [attempt.outcome for attempt in Notification.objects.get().attempts] == ["retrying", "sent"]
    assert len(mail_sink.mails) == 1

    listed = movieapp(settings, "dead-letters", "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "evt_2" in listed.stdout


def test_the_worker_has_no_permission_for_other_resources(
    declared: Topology, channel: Callable[[str], BlockingChannel]
) -> None:
    queue = declared.queue("notification.sms")
    refused(lambda: channel(WORKER).queue_declare(f"{queue}x"))
    refused(lambda: channel(WORKER).queue_declare(queue.replace(".", "_")))
    refused(lambda: channel(WORKER).exchange_declare(f"{declared.exchange}x", "topic"))
    refused(lambda: channel(WORKER).basic_publish(declared.exchange, "booking.confirmed", b""))
    refused(lambda: channel(WORKER).queue_bind(queue, declared.exchange, "#"))


def test_guest_is_deleted_and_a_password_can_be_changed(
    node: RabbitServer, topology: Topology, url: Callable[[str], str]
) -> None:
    assert amqp_error(node.url) == "ProbableAuthenticationError"
    changed = PASSWORDS | {"RABBITMQ_PUBLISHER_PASSWORD": "another-password-now"}
    assert run_script(node, **changed).returncode == 0
    assert amqp_error(url(PUBLISHER)) == "ProbableAuthenticationError"
    assert amqp_error(url(WORKER)) is None


@pytest.mark.parametrize("value", ["", "too-short", 'quoted"and long enough', "with/a/slash/and/more"])
@pytest.mark.parametrize("name", PASSWORDS)
def test_without_a_valid_password_nothing_is_changed(node: RabbitServer, name: str, value: str) -> None:
    refused = run_script(node, **PASSWORDS | {name: value})
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"{name} must ")
    assert not value or value not in refused.stderr


@pytest.mark.parametrize("name", ["RABBITMQ_EXCHANGE", "NAMESPACE"])
def test_a_name_with_pattern_characters_is_refused(node: RabbitServer, name: str) -> None:
    refused = run_script(node, **PASSWORDS | {name: "a.*|b"})
    assert refused.returncode == 2
    assert name in refused.stderr
