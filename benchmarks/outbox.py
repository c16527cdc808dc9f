"""Measure how fast workers publish waiting events after an outage of RabbitMQ, and check their order.

    make bench PARTS=outbox          # or: python -m benchmarks.outbox --events 4000 --workers 1 2

A worker is a process with the relay of `movieapp worker`. Every tenth payment has two events. Exit code 1 if
an event is missing, or if a later event of a booking arrived before an earlier one.

SecantusDB sorts the whole backlog for each sweep, where MongoDB follows the index. With 100,000 events, this
exceeds the client's timeout. BENCH_MONGODB_URI selects a real MongoDB. A worker's processor time does not
include the database's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pika
import psutil

from app import models
from app.clock import utcnow
from app.ids import new_id
from app.messaging.publisher import make_publisher
from app.models import Transaction
from app.payments.ledger.mongo import MongoLedger
from app.payments.outbox import GRACE, Relay
from app.payments.service import make_payments
from app.settings import Settings, load_settings
from app.telemetry import logs
from benchmarks.harness import cpu_seconds, servers, start_workers
from benchmarks.stored import pay, payment_id

#: Number of documents stored at once. One in this many payments has two events.
_BATCH, _TWO_EVENTS = 1_000, 10

#: Seconds between two checks of the queue, and to wait for the next event.
_POLL_SECONDS, _TIMEOUT_SECONDS = 0.2, 120.0


@dataclass(frozen=True)
class Drained:
    """The result of publishing a backlog.

    Attributes:
        seconds: until the last event was confirmed.
        worker_cpu, database_cpu: processor time in seconds, of all workers and of SecantusDB.
        arrived: number of events that RabbitMQ received.
        repeated: number of those that had arrived before with the same id.
        overtaken: number of bookings whose later event arrived first.
    """

    seconds: float
    worker_cpu: float
    database_cpu: float
    arrived: int
    repeated: int
    overtaken: int


def work() -> None:
    """Run a relay until standard input ends."""
    logs.configure("movieapp-cli", "ERROR")
    settings = load_settings()
    models.connect(settings)
    relay = Relay(MongoLedger(), lambda: make_publisher(settings))
    print("ready", flush=True)
    sys.stdin.readline()
    relay.start()
    sys.stdin.read()
    relay.close()


def let_wait(settings: Settings, events: int) -> None:
    """Store copies of a payment until `events` events wait in their outboxes."""
    paid_id = pay(make_payments(settings))
    payments = Transaction.collection()
    [paid] = payments.find({"_id": paid_id})
    payments.delete_one({"_id": paid_id})
    since = utcnow() - 2 * GRACE
    documents: list[dict[str, Any]] = []
    number = stored = 0
    while stored < events:
        count = 1 if number % _TWO_EVENTS or stored + 1 == events else 2
        documents.append(_waiting(paid, number, count) | {"outbox_since": since})
        number, stored = number + 1, stored + count
        if len(documents) == _BATCH or stored == events:
            payments.insert_many(documents, ordered=False)
            documents.clear()


def _waiting(paid: dict[str, Any], number: int, count: int) -> dict[str, Any]:
    """Return a copy of a payment with that number of events."""
    transaction_id = payment_id(number)
    booking = f"BOOK-{transaction_id}"
    entry = paid["outbox"][0]
    outbox = [
        entry | {"event_id": new_id("evt_"), "body": _body(entry, booking, place)} for place in range(count)
    ]
    ids = {
        "_id": transaction_id,
        "booking_id": booking,
        "open_booking": booking,
        "gateway_id": f"pi_{number}",
    }
    return paid | ids | {"outbox": outbox}


def _body(entry: dict[str, Any], booking: str, place: int) -> str:
    return json.dumps(json.loads(entry["body"]) | {"booking_id": booking, "place": place})


@contextmanager
def _watching(settings: Settings) -> Iterator[tuple[pika.adapters.blocking_connection.BlockingChannel, str]]:
    """Declare a queue that receives every event of a payment."""
    parameters = pika.URLParameters(settings.rabbitmq_url)
    parameters.heartbeat = 0
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.exchange_declare(settings.rabbitmq_exchange, exchange_type="topic", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, settings.rabbitmq_exchange, "payment.*")
        yield channel, queue


def drain(settings: Settings, events: int, workers: int) -> Drained:
    """Publish a backlog with `workers` processes."""
    let_wait(settings, events)
    database = [each for each in psutil.Process().children() if "benchmarks.mongodb" in each.cmdline()]
    with _watching(settings) as (channel, queue):
        processes = start_workers("benchmarks.outbox", settings, workers)
        before = sum(map(cpu_seconds, database))
        working = [psutil.Process(process.pid) for process in processes]
        worked = sum(map(cpu_seconds, working))
        for process in processes:
            print("go", file=process.stdin, flush=True)
        started = ended = time.monotonic()
        count = 0
        while count < events and time.monotonic() < ended + _TIMEOUT_SECONDS:
            time.sleep(_POLL_SECONDS)
            now = channel.queue_declare(queue, passive=True).method.message_count
            if now > count:
                count, ended = now, time.monotonic()
        worked, before = sum(map(cpu_seconds, working)) - worked, sum(map(cpu_seconds, database)) - before
        for process in processes:
            process.communicate()
        places = list(_received(channel, queue))
    ids = {event_id for event_id, _, _ in places}
    return Drained(ended - started, worked, before, len(places), len(places) - len(ids), _overtaken(places))


def _received(
    channel: pika.adapters.blocking_connection.BlockingChannel, queue: str
) -> Iterator[tuple[str, str, int]]:
    """Yield the id, booking, and position of each event, in the order of arrival."""
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=1):
        if method is None:
            return
        event = json.loads(body)
        yield str(properties.message_id), event["booking_id"], event["place"]


def _overtaken(places: list[tuple[str, str, int]]) -> int:
    newest: dict[str, int] = {}
    overtaken = set()
    for _, booking, place in places:
        if place > newest.setdefault(booking, -1) + 1:
            overtaken.add(booking)
        newest[booking] = max(newest[booking], place)
    return len(overtaken)


def main() -> None:
    """Print a line for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=4_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work()
        return
    logs.configure("movieapp-cli", "ERROR")
    header = ("workers", "events", "seconds", "a second", "worker ms", "database ms", "repeated", "overtaken")
    print(*(f"{name:>11}" for name in header))
    failed = False
    for workers in options.workers:
        with servers() as settings:
            models.connect(settings)
            models.create_indexes()
            found = drain(settings, options.events, workers)
            models.disconnect()
        rate = options.events / found.seconds
        each = [1000 * cpu / options.events for cpu in (found.worker_cpu, found.database_cpu)]
        print(
            f"{workers:11}{options.events:12,}{found.seconds:12.1f}{rate:12,.0f}{each[0]:12.2f}{each[1]:12.2f}"
            f"{found.repeated:12,}{found.overtaken:12,}",
            flush=True,
        )
        failed |= found.arrived - found.repeated != options.events or bool(found.overtaken)
    if failed:
        raise SystemExit("events are missing, or arrived out of order")


if __name__ == "__main__":
    main()
