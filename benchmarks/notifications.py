"""Measure events a second from the exchange to the SMTP server's 250, next to a minimal loop and a typical
consumer.

    make bench PARTS=notifications

Each event sends a ticket mail, with a QR code and a calendar file. RabbitMQ is this machine's, and the SMTP
server is Postfix's smtp-sink. All of them share the processors, so only the ratios are comparable. A local
server replies at once, so that rendering takes all of the time. Real servers are farther away, so the
benchmark also uses one at a distance of some milliseconds. Python runs one thread at a time, and switching to
a thread on another core takes time. Therefore, one process is measured a second time on a single core.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pika

from app import models
from app.channels import CHANNELS, ChannelName
from app.messaging.topology import Topology
from app.models import Notification
from app.settings import Settings
from benchmarks.distance import far
from benchmarks.harness import ROOT, servers, wait_until
from benchmarks.mailers import ticket
from benchmarks.processes import mailing
from benchmarks.sink import Sink, sink
from tests.support.commands import environment

_WARM = 40

_MODULE = (sys.executable, "-m")


@contextmanager
def running(command: list[str], settings: Settings) -> Iterator[None]:
    """Run a command during this block."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(settings),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(60)


@contextmanager
def exchange(settings: Settings) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """Declare the queues, and yield a channel to publish on."""
    topology = Topology.of(settings)
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        for queue in (*topology.event_queues, topology.queue(CHANNELS[ChannelName.EMAIL].queue)):
            topology.declare(channel, queue)
        yield channel


def publish(
    channel: pika.adapters.blocking_connection.BlockingChannel, settings: Settings, number: int | str
) -> str:
    """Publish one event. Return its id."""
    event = ticket(f"{number}-{uuid.uuid4().hex}")
    persistent = pika.BasicProperties(delivery_mode=2, content_type="application/json")
    channel.basic_publish(
        settings.rabbitmq_exchange, str(event["event_type"]), json.dumps(event).encode(), persistent
    )
    return str(event["event_id"])


def a_second(command: list[str], settings: Settings, sunk: Sink, mails: int) -> float:
    """Publish `mails` events at once. Return how many become mails in a second."""
    with exchange(settings) as channel, running(command, settings):
        for number in range(_WARM):
            publish(channel, settings, f"warm-{number}")
        sunk.wait_for(before := sunk.mails + _WARM)
        started = time.monotonic()
        for number in range(mails):
            publish(channel, settings, number)
        sunk.wait_for(before + mails)
        return mails / (time.monotonic() - started)


def latencies(settings: Settings, sunk: Sink, rate: int, seconds: int) -> list[float]:
    """Publish events at a steady rate. Return the milliseconds from each event to the server's 250."""
    models.connect(settings)
    published: dict[str, datetime] = {}
    with exchange(settings) as channel, running(worker(1), settings):
        for number in range(_WARM):
            publish(channel, settings, f"warm-{number}")
        sunk.wait_for(before := sunk.mails + _WARM)
        started = time.monotonic()
        for number in range(rate * seconds):
            time.sleep(max(0.0, started + number / rate - time.monotonic()))
            now = datetime.now(UTC)
            published[publish(channel, settings, number)] = now
        sunk.wait_for(before + rate * seconds)

        def sent() -> list[Notification]:
            return list(
                Notification.objects(event_id__in=list(published), status="sent").only("event_id", "sent_at")
            )

        wait_until(lambda: len(sent()) == len(published), "not all were recorded as sent")
        took = [(each.sent_at - published[each.event_id]).total_seconds() * 1000 for each in sent()]
    models.disconnect()
    return took


def worker(processes: int) -> list[str]:
    """Return the command of the worker."""
    return [*_MODULE, "cli.main", "worker", "--processes", str(processes)]


def floor(port: int, mails: int) -> float:
    """Return the mails a second of a loop with one connection."""
    command = [*_MODULE, "benchmarks.mailers", "floor", str(mails), str(port)]
    return float(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def candidates(settings: Settings, port: int) -> dict[str, list[str]]:
    """Return name → command of each program that mails RabbitMQ's messages to the server on `port`."""
    queue = next(iter(Topology.of(settings).event_queues))
    processor = str(max(os.sched_getaffinity(0)))
    return {
        "movieapp, 1 process": worker(1),
        "the same, kept on a core": ["taskset", "--cpu-list", processor, *worker(1)],
        "movieapp, 2 processes": worker(2),
        "consumer": [*_MODULE, "benchmarks.mailers", "consumer", settings.rabbitmq_url, queue, str(port)],
    }


def rates(mails: int, distance: float) -> dict[str, float]:
    """Return the mails a second of each candidate, with a mail server at `distance` milliseconds."""
    found = {}
    with sink() as sunk, far(sunk.port, distance) as port:
        found["floor"] = floor(port, mails)
        with servers() as settings:
            settings = mailing(settings, port)
            for name, command in candidates(settings, port).items():
                found[name] = a_second(command, settings, sunk, mails)
    return found


def table(rounds: list[dict[str, float]], title: str) -> Iterator[str]:
    """Return lines with medians, and with medians of the ratios in each round, because the machine's speed
    varies.
    """
    yield f"{title:26}{'mails a second':>16}{'of the floor':>14}{'x consumer':>12}"
    for name in rounds[0]:
        rate, of_floor, consumers = (
            statistics.median(each[name] / each.get(beside, 1) for each in rounds)
            for beside in ("", "floor", "consumer")
        )
        yield f"{name:26}{rate:16.1f}{of_floor:14.0%}{consumers:12.2f}"


def main() -> None:
    """Print tables of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mails", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument(
        "--distance", type=float, nargs="+", default=[0, 5], help="distances of the server in milliseconds"
    )
    parser.add_argument("--rate", type=int, default=50, help="events a second for the latency")
    parser.add_argument("--seconds", type=int, default=20, help="duration of the latency measurement")
    options = parser.parse_args()
    for distance in options.distance:
        # With a distant server, each mail takes longer, and fewer mails are enough.
        rounds = [rates(options.mails // (3 if distance else 1), distance) for _ in range(options.rounds)]
        print(*table(rounds, f"server {distance:g} ms away"), sep="\n")
    p50s, p99s = [], []
    for _ in range(options.rounds):
        with servers() as settings, sink() as sunk:
            took = latencies(mailing(settings, sunk.port), sunk, options.rate, options.seconds)
            p50s.append(statistics.median(took))
            p99s.append(statistics.quantiles(took, n=100)[98])
    p50, p99 = statistics.median(p50s), statistics.median(p99s)
    print(f"publish to 250 at {options.rate} a second: p50 {p50:.0f} ms, p99 {p99:.0f} ms")


if __name__ == "__main__":
    main()
