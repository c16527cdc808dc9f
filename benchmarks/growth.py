"""Measure operations while the stored payments and deliveries grow: at 1,000, 100,000, and 1,000,000 of each.

    make bench PARTS=growth                        # or: python -m benchmarks.growth --sizes 1000 5000

One database grows from size to size. The milliseconds are the caller's waiting time. A plain round trip is
measured between the operations, and shows how fast the machine was at that time.

RabbitMQ holds 1,000 and then 10,000 dead letters. A million would block the broker for its other users.

At the end, every filter that the operations sent is explained. Exit code 1 if a filter uses no index. The
plans are SecantusDB's, for the same indexes as in MongoDB.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from itertools import islice, pairwise

from pymongo import monitoring

from app import models
from app.channels import CHANNELS, ChannelName
from app.messaging.dead_letters import open_dead_letters
from app.messaging.publisher import OutgoingEvent, Publisher
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification, Transaction
from app.operations.dead_letters import Selection, find
from app.payments.ledger.mongo import MongoLedger
from app.payments.outbox import sweep
from app.payments.service import Payments, make_payments
from app.settings import Settings
from app.telemetry import logs
from benchmarks.harness import servers
from benchmarks.notifications import exchange
from benchmarks.queries import SCAN, Watch
from benchmarks.stored import deliver, delivery_id, fill, let_wait, pay, payment_id
from tests.support.dead_letters import bury, delivery_message

#: Calls of each operation, transactions that are due for a sweep, and dead letters that a list shows by
#: default.
_CALLS, _DUE, _LISTED = 100, 20, 50
_LETTERS = (1_000, 10_000)


class _Confirming(Publisher):
    """A publisher that confirms every event immediately."""

    def publish_all(self, events: Sequence[OutgoingEvent]) -> dict[str, str]:
        return {}

    def keep_alive(self) -> None:
        pass

    def close(self) -> None:
        pass


def grow(uri: str, watch: Watch, payments: Payments, sizes: Sequence[int]) -> None:
    """Measure at each size."""
    [waiting] = Transaction._get_collection().find({"_id": pay(payments)})
    sweep(MongoLedger(), _Confirming(), timedelta(0))
    [paid] = Transaction._get_collection().find({"_id": waiting["_id"]})
    [sent] = Notification._get_collection().find({"_id": deliver(Watch(), 0)})
    for stored, size in pairwise([0, *sizes]):
        rate = fill(uri, paid, sent, stored, size)
        print(f"{size:,} of each are stored, {rate:,.0f} documents a second", file=sys.stderr)
        for call in range(_CALLS):
            chosen = [(call + place * size // _DUE) % size for place in range(_DUE)]
            with watch.operation("a round trip", size):
                models.database().command("ping")
            with watch.operation("status read", size):
                MongoLedger().find(payment_id(chosen[0]))
            with watch.operation("process", size):
                pay(payments)
            # Includes the payment that was just created.
            let_wait(chosen[1:], waiting["outbox"][0])
            with watch.operation("outbox sweep", size):
                announced = sweep(MongoLedger(), _Confirming(), timedelta(0))
            if announced != _DUE:
                raise SystemExit(f"{announced} transactions were announced, not {_DUE}")
            deliver(watch, size)


def bury_and_list(watch: Watch, settings: Settings) -> None:
    """List dead letters as `movieapp dead-letters list` does."""
    queues = [Topology.of(settings).queue(name) for name in QUEUES]
    with exchange(settings) as channel, closing(open_dead_letters(settings)) as letters:
        for buried, size in pairwise([0, *_LETTERS]):
            ids = [str(delivery_id(number)) for number in range(buried, size)]
            bury(
                settings,
                CHANNELS[ChannelName.EMAIL].queue,
                [delivery_message(settings, each) for each in ids],
            )
            for _ in range(_CALLS):
                with watch.operation("dead-letter list", size):
                    sum(map(letters.count, queues))
                    with closing(find(letters, queues, Selection())) as found:
                        listed = [case.error for case in islice(found, _LISTED)]
                if len(listed) != _LISTED:
                    raise SystemExit(f"{len(listed)} dead letters were listed, not {_LISTED}")
                channel.connection.process_data_events()  # responds to RabbitMQ's heartbeats


def main() -> None:
    """Print a table of medians and one of plans."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    options = parser.parse_args()
    logs.configure("movieapp-cli", "WARNING")
    watch = Watch()
    monitoring.register(watch)
    with servers() as settings:
        models.connect(settings)
        payments = make_payments(settings)
        grow(settings.mongodb_uri, watch, payments, sorted(options.sizes))
        bury_and_list(watch, settings)
        plans = watch.plans()
        models.disconnect()
    sizes: list[int] = []
    for name, medians in watch.medians().items():
        if sizes != list(medians):
            sizes = list(medians)
            print(f"{'milliseconds at':21}", *(f"{size:>18,}" for size in sizes))
        print(f"{name:21}", *(f"{each:10.2f} {each / medians[sizes[0]]:6.2f}x" for each in medians.values()))
    for query, index in plans.items():
        print(f"{query.operation:21}{query.collection:19}{query.shape:52}{index}")
    if SCAN in plans.values():
        raise SystemExit("a filter uses no index")


if __name__ == "__main__":
    main()
