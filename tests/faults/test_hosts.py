"""Two API hosts and two worker hosts on a RabbitMQ cluster lose their network under load and recover."""

from __future__ import annotations

import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from app import models
from app.models import Notification, Transaction
from app.settings import Settings
from tests.support.cluster import ClusterNode, cluster
from tests.support.commands import environment
from tests.support.hosts import Host, Network, NotPermitted, network
from tests.support.mail import MailSink
from tests.support.processes import Process
from tests.support.servers import responds
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

#: Seconds without a network. TCP retransmits lost packets within SMTP_TIMEOUT of the first.
CUT_SECONDS = 8
#: Seconds between two heartbeats of RabbitMQ: it detects a lost worker after two.
HEARTBEAT_SECONDS = 2
CUSTOMERS = 3
#: Minimum number of payments of each customer before, between, and after the partitions.
CALM = 3


@pytest.fixture
def lan() -> Iterator[Network]:
    try:
        with network() as created:
            yield created
    except NotPermitted as reason:
        # skipped even where services are required, because a container may not allow it
        pytest.skip(f"hosts: {reason}")


@pytest.fixture
def nodes(rabbitmq_installed: None, server_dir: Path) -> Iterator[list[ClusterNode]]:
    with cluster(server_dir) as running:
        yield running


class Site:
    """The services on their hosts, and their customers.

    Attributes:
        apis, workers: hosts.
    """

    def __init__(self, lan: Network, settings: Settings, nodes: list[ClusterNode], directory: Path) -> None:
        self.apis, self.workers = [lan.host(), lan.host()], [lan.host(), lan.host()]
        self._directory = directory
        self._next_node = itertools.cycle([lan.reach(node.port) for node in nodes])
        servers = (settings.mongodb_uri, settings.redis_url, settings.payment_gateway_url)
        moved = {url: _at(url, lan.reach(urlsplit(url).port or 0)) for url in servers}
        smtp, _, port = lan.reach(settings.smtp_port).partition(":")
        self._settings = settings.model_copy(
            update={
                "mongodb_uri": moved[settings.mongodb_uri],
                "redis_url": moved[settings.redis_url],
                "payment_gateway_url": moved[settings.payment_gateway_url],
                "smtp_server": smtp,
                "smtp_port": int(port),
            }
        )

    def start(self, running: ExitStack) -> None:
        """Start a service on each host, each connected to one RabbitMQ node."""
        beats = []
        for number, host in enumerate((*self.apis, *self.workers)):
            beat = self._directory / f"beat{number}"
            url = f"amqp://guest:guest@{next(self._next_node)}/%2F?heartbeat={HEARTBEAT_SECONDS}"
            settings = self._settings.model_copy(
                update={"rabbitmq_url": url, "worker_heartbeat_file": beat, "metrics_bind": "none"}
            )
            if host in self.apis:
                service = ["serve", "--bind", "0.0.0.0:8003", "--workers", "1"]
            else:
                service = ["worker", "--threads", "4"]
                beats.append(beat)
            command = host.command([sys.executable, "-m", "cli.main", *service])
            log = self._directory / f"host{number}.log"
            running.enter_context(Process(command, log, env=environment(settings)))
        wait_for(lambda: all(beat.exists() for beat in beats), 60, "a worker does not consume")
        wait_for(lambda: all(map(_is_ready, self.apis)), 60, "an API does not answer")

    def pay(self, booking: str) -> str:
        """Pay like a careful client: repeat the request, at either host, until the payment is settled."""
        body = {"user_id": booking, "booking_id": booking, "amount": 25.5, "payment_method": "credit_card"}
        body["user_email"] = _address(booking)
        give_up_at = time.monotonic() + 240
        for host in itertools.cycle(random.sample(self.apis, len(self.apis))):
            assert time.monotonic() < give_up_at, f"{booking} was never settled"
            try:
                url = f"http://{host.address}:8003/payment/process"
                found = requests.post(url, json=body, headers={"Idempotency-Key": booking}, timeout=(1, 5))
            except requests.RequestException:
                continue
            if found.status_code == 200:
                paid: str = found.json()["transaction_id"]
                return paid
            assert found.status_code in (202, 409, 503), found.text
            time.sleep(0.1)
        raise AssertionError


def _address(booking: str) -> str:
    return f"{booking.lower()}@example.com"


def _at(url: str, address: str) -> str:
    return url.replace(urlsplit(url).netloc.rpartition("@")[2], address)


def _is_ready(api: Host) -> bool:
    return responds(f"http://{api.address}:8003/health")


class Load:
    """Customers that pay one booking after another until they are stopped."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self.paid: dict[str, str] = {}

    def __call__(self) -> None:
        while not self._stop.is_set():
            self.pay_one()

    def pay_one(self) -> str:
        """Pay one booking, and return its id."""
        booking = f"BOOK-{next(self._numbers)}"
        self.paid[booking] = self._site.pay(booking)
        return booking

    def go_on(self) -> None:
        """Wait until each customer has paid a few more bookings."""
        expected = len(self.paid) + CUSTOMERS * CALM
        wait_for(lambda: len(self.paid) >= expected, 60, "nobody pays")

    def stop(self) -> None:
        self._stop.set()


def _unsent(load: Load) -> str:
    """Describe the payments whose email is not sent."""
    sent = Notification.objects(status="sent")
    others = [each.to_mongo().to_dict() for each in Notification.objects(status__ne="sent")]
    missing = {*load.paid} - {*Notification.objects.scalar("booking_id")}
    announced = [each.to_mongo().to_dict() for each in Transaction.objects(booking_id__in=missing)]
    return f"{sent.count()} sent, {len(load.paid)} paid; not sent: {others}; no email: {announced}"


def test_a_host_partitioned_under_load_loses_and_duplicates_nothing(
    lan: Network,
    nodes: list[ClusterNode],
    stored_settings: Settings,
    private_stripe: StripeSimulator,
    mail_sink: MailSink,
    tmp_path: Path,
) -> None:
    changes = {**mail_sink.settings, **private_stripe.settings, "rabbitmq_queue_type": "quorum"}
    settings = stored_settings.model_copy(update=changes)
    models.connect(settings)
    site = Site(lan, settings, nodes, tmp_path)
    load = Load(site)
    with ExitStack() as running:
        site.start(running)
        with ThreadPoolExecutor(CUSTOMERS) as pool:
            customers = [pool.submit(load) for _ in range(CUSTOMERS)]
            try:
                load.go_on()
                # While the second worker is cut off, only the first can send, so it has recovered.
                for host in (site.apis[0], *site.workers):
                    host.pull_the_cable()
                    time.sleep(CUT_SECONDS)
                    assert not _is_ready(site.apis[0]) or host in site.workers
                    # Customers with a request on the cut-off host wait for it. New requests are served.
                    address = _address(load.pay_one())
                    wait_for(lambda: address in mail_sink.recipients(), 60, "no worker takes over")  # noqa: B023
                    host.plug_it_in()
                    load.go_on()
            finally:
                load.stop()
        for customer in customers:
            customer.result()
        sent = Notification.objects(status="sent")
        # Whatever a host that lost its network had in hand is sent when its lease ends, at the latest.
        lease_seconds = 7 * settings.smtp_timeout + 20
        wait_for(lambda: sent.count() >= len(load.paid), lease_seconds + 60, lambda: _unsent(load))
        wait_for(lambda: not Transaction.objects(outbox_since__ne=None), 60, "an event is not published")

    payments = {each.id: each for each in Transaction.objects(status="completed")}
    assert {each.booking_id: each.id for each in payments.values()} == load.paid
    charged = Counter(charge["metadata"]["booking_id"] for charge in private_stripe.charges())
    assert charged == Counter(dict.fromkeys(load.paid, 1)), "each booking is charged once"
    assert Counter(mail_sink.recipients()) == Counter(map(_address, load.paid)), "each is mailed once"
    assert Notification.objects.count() == len(load.paid)
