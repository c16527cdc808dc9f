"""docker-compose.yml without a container engine: run its commands and health checks, and mail a payment.

SecantusDB stands in for MongoDB, and this machine's Redis for Valkey's image. What the profiles add is other
people's, and left out.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pika
import pytest
import requests

from app.events.samples import sample
from tests.support.compose import ROOT, Native, read_compose
from tests.support.mail import MailSink
from tests.support.ports import free_port, listens
from tests.support.processes import Process
from tests.support.servers import RabbitServer, RedisServer, find_binary
from tests.support.services import with_database
from tests.support.stripe import StripeSimulator

PASSWORDS = {
    "RABBITMQ_PUBLISHER_PASSWORD": "password-of-the-publisher",
    "RABBITMQ_PAYMENTS_PASSWORD": "password_of_the_payments",
    "RABBITMQ_WORKER_PASSWORD": "0123456789abcdef",
    "RABBITMQ_ADMIN_PASSWORD": "password-of-the-admin",
    "REDIS_PASSWORD": "password-of-redis",
    "MONGODB_PASSWORD": "password-of-mongodb",
}


class Machine:
    """Run the services on this machine instead of in containers.

    Args:
        directory: for what the services write.
        mongodb: SecantusDB's URI.
        rabbitmq: a node.
        dotenv: what `.env` says besides the passwords.
    """

    def __init__(
        self, directory: Path, mongodb: str, rabbitmq: RabbitServer, dotenv: Mapping[str, str]
    ) -> None:
        self.directory = directory
        self.rabbitmq = rabbitmq
        self.dotenv = dotenv
        free = (f"127.0.0.1:{free_port()}" for _ in range(4))
        self.api, self.api_metrics, self.worker_metrics, self.redis = free
        self._services = read_compose()["services"]
        database = "mongodb://movieapp:password-of-mongodb@mongo:27017/movieapp?replicaSet=rs0"
        self._places = {
            database: with_database(mongodb, f"test_{uuid.uuid4().hex[:12]}"),
            "@rabbitmq:5672": f"@127.0.0.1:{rabbitmq.port}",
            "redis:6379": self.redis,
            "0.0.0.0:8003": self.api,
            "127.0.0.1:8003": self.api,
            "0.0.0.0:9464": self.api_metrics,
            "0.0.0.0:9465": self.worker_metrics,
            "/tmp/worker.heartbeat": str(directory / "worker.heartbeat"),  # noqa: S108 - the image's
            "/access.sh": str(ROOT / "deploy" / "rabbitmq" / "access.sh"),
            "valkey-server": str(RedisServer.binary()),
            "valkey-cli": str(find_binary("redis-cli", "valkey-cli")),
        }

    def service(self, name: str) -> Native:
        """Return a service of the file."""
        return Native(self._services[name], {**PASSWORDS, **self.dotenv}, self._places)

    def environment(self, name: str) -> dict[str, str]:
        """Return a service's environment, with only PATH from this machine."""
        programs = os.pathsep.join([str(Path(sys.executable).parent), "/usr/bin", "/bin"])
        image = {"PATH": programs, "HOME": str(self.directory)}
        mounted = {"SECRETS_DIR": str(self.directory / "secrets")}
        return image | mounted | {**PASSWORDS, **self.dotenv} | self.service(name).environment

    def tools(self) -> dict[str, str]:
        """Return the environment for RabbitMQ's tools to reach the node."""
        # Debian's wrapper switches the user and drops the node's name; the underlying script does not.
        node = dict(self.rabbitmq.environment())
        return node | {"PATH": f"/usr/lib/rabbitmq/bin:{node['PATH']}"}

    def start(self, name: str) -> Process:
        """Run a service's command outside the checkout."""
        own = self.directory / name
        own.mkdir()
        return Process(self.service(name).command, own / "output.log", env=self.environment(name), cwd=own)

    def healthy(self, name: str) -> bool:
        """Run a service's health check."""
        return run(self.service(name).health_check, self.environment(name)).returncode == 0


def run(command: list[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def machine(
    private_rabbitmq: RabbitServer,
    mongodb_server: str,
    stripe_simulator: StripeSimulator,
    mail_sink: MailSink,
    tmp_path: Path,
) -> Iterator[Machine]:
    """Start what the services depend on: RabbitMQ with its users, and Redis."""
    dotenv = {name.upper(): str(value) for name, value in mail_sink.settings.items()}
    dotenv["PAYMENT_GATEWAY_URL"] = stripe_simulator.url
    machine = Machine(tmp_path, mongodb_server, private_rabbitmq, dotenv)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "payment_gateway_api_key").write_text("sk_test_in_a_file\n")

    tools = machine.tools()
    check = run(machine.service("rabbitmq").health_check, tools)
    assert check.returncode == 0, check.stdout + check.stderr
    access = machine.service("rabbitmq-access")
    created = run(access.command, access.environment | tools)
    assert created.returncode == 0, created.stdout + created.stderr

    store = machine.service("redis")
    port = machine.redis.rpartition(":")[2]
    command = [*store.command, "--port", port, "--dir", str(tmp_path)]
    cli, *ping = store.health_check
    login = {**os.environ, **store.environment}
    with Process(command, tmp_path / "redis.log") as process:
        process.wait_until(lambda: run([cli, "-p", port, *ping], login).returncode == 0)
        assert run([cli, "-p", port, *ping], os.environ).returncode, "nobody gets in without the password"
        yield machine
    assert (tmp_path / "appendonlydir").exists(), "what it keeps is on disk"


def amqp(machine: Machine, user: str, password: str) -> pika.BlockingConnection:
    address = f"127.0.0.1:{machine.rabbitmq.port}"
    return pika.BlockingConnection(pika.URLParameters(f"amqp://{user}:{PASSWORDS[password]}@{address}/%2F"))


def test_the_compose_stack_takes_a_payment_and_sends_its_email(machine: Machine, mail_sink: MailSink) -> None:
    payment = {"user_id": "u", "booking_id": "BOOK-1", "amount": 25.5, "payment_method": "credit_card"}
    with machine.start("payment-service") as api, machine.start("notification-service") as worker:
        api.wait_until(lambda: machine.healthy("payment-service"))
        worker.wait_until(lambda: machine.healthy("notification-service"))

        response = requests.post(
            f"http://{machine.api}/payment/process",
            json=payment | {"user_email": "jane.doe@example.com"},
            timeout=30,
        )
        assert (response.status_code, response.json()["status"]) == (200, "success"), response.text
        mail = mail_sink.wait(1, timeout=30)[0]
        assert mail["To"] == "jane.doe@example.com"

        with amqp(machine, "booking-service", "RABBITMQ_PUBLISHER_PASSWORD") as connection:
            event = sample("booking.confirmed")
            channel = connection.channel()
            channel.basic_publish("movie_app_events", event["event_type"], json.dumps(event))
        assert mail_sink.wait(2, timeout=30)[1]["To"] == event["user_email"]
        amqp(machine, "admin", "RABBITMQ_ADMIN_PASSWORD").close()

        ready = requests.get(f"http://{machine.api}/health/ready", timeout=10)
        assert ready.status_code == 200
        assert {name for name, check in ready.json()["checks"].items() if not check["ok"]} == set()
        worker.wait_until(lambda: listens(int(machine.worker_metrics.rpartition(":")[2])))
        for address in (machine.api_metrics, machine.worker_metrics):
            assert "movieapp_" in requests.get(f"http://{address}/metrics", timeout=10).text

        for name, process in {"payment-service": api, "notification-service": worker}.items():
            process.signal(signal.SIGTERM)
            assert process.wait(machine.service(name).grace) == 0, process.output()
        assert not machine.healthy("payment-service")
