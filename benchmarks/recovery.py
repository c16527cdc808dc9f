"""Measure how long recovery takes to settle a backlog after an outage of the gateway, and count its requests.

    make bench PARTS=recovery        # or: python -m benchmarks.recovery --payments 100 10000 --workers 3

The program accepts the payments, and the simulator drops its connections. Half of the payments were charged
before that, and half never arrived. All of them are in the gateway's books from the start, and become due in
turns. So, the gateway's list is about as long for a small backlog as for a large one.

A worker is a process that runs the payment sweep of `movieapp worker`. Exit code 1 if the outcome of a
payment differs from the gateway's books, or if a request was repeated.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from app import models
from app.clock import utcnow
from app.gateway.stripe.client import StripeApi
from app.ids import new_id
from app.models import Transaction
from app.payments.ledger.mongo import MongoLedger
from app.payments.orders import PaymentOrder
from app.payments.records import Payment, changed
from app.payments.recovery import recover_due
from app.payments.service import Payments, make_payments
from app.payments.states import UNSETTLED
from app.settings import Settings, load_settings
from app.telemetry import logs
from benchmarks.harness import servers, start_workers
from tests.support.stripe import StripeSimulator

_CREATE = "POST /v1/payment_intents"

#: Concurrent requests while the backlog is created.
_CLIENTS = 8

#: Documents written at once.
_BATCH = 100

#: Seconds between two rounds of the sweep, and between two checks for unsettled payments.
_INTERVAL_SECONDS, _POLL_SECONDS = 2.0, 0.5


@dataclass(frozen=True)
class Settled:
    """The result of settling a backlog.

    Attributes:
        seconds: until the last outcome was recorded.
        shares: number of payments that each worker settled.
        listings: number of complete reads of the gateway's lists.
        pages: number of requests for a page of a list.
        calls: number of all requests to the gateway.
        repeated: number of idempotency keys and paths that were requested more than once.
    """

    seconds: float
    shares: list[int]
    listings: int
    pages: int
    calls: int
    repeated: int


class _CountingLedger(MongoLedger):
    """A ledger that counts the payments that this process settles."""

    settled = 0

    def write(self, before: Payment, after: Payment) -> bool:
        written = super().write(before, after)
        self.settled += written and before.status in UNSETTLED and after.status not in UNSETTLED
        return written


class _NotYetDue(MongoLedger):
    """A ledger that stores payments that are due tomorrow."""

    def insert(self, payment: Payment) -> None:
        super().insert(changed(payment, recover_after=utcnow() + timedelta(days=1)))


def work() -> None:
    """Run the sweep until standard input ends, then print its counts as JSON."""
    logs.configure("movieapp-cli", "ERROR")
    settings = load_settings()
    models.connect(settings)
    payments = make_payments(settings)
    payments.books.ledger = ledger = _CountingLedger()
    calls: Counter[str] = Counter()
    requested: Counter[str] = Counter()
    call = StripeApi.call

    def counted(
        api: StripeApi, method: str, path: str, params: Any = None, idempotency_key: str | None = None
    ) -> dict[str, Any]:
        is_list = method == "get" and path.count("/") == 2
        calls["pages" if is_list else "others"] += 1
        calls["listings"] += is_list and "starting_after" not in params
        if not is_list:
            requested[idempotency_key or path] += 1
        return call(api, method, path, params, idempotency_key)

    StripeApi.call = counted  # type: ignore[method-assign] # counts requests
    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(sys.stdin.read)
        while not ended.done():
            recover_due(payments)
            time.sleep(_INTERVAL_SECONDS)
    print(json.dumps({"settled": ledger.settled, "calls": calls, "requests": requested}), flush=True)


def lose(settings: Settings, count: int) -> None:
    """Take payments whose responses are lost: for one half after the charge, for the other before it."""
    stripe = StripeSimulator(settings.payment_gateway_url)
    payments = make_payments(settings.model_copy(update={"payment_gateway_max_retries": 0}))
    payments.books.ledger = _NotYetDue()
    for kind, part in (("drop_after", count // 2), ("drop_before", count - count // 2)):
        stripe.fault(match=_CREATE, kind=kind, times=0)
        with ThreadPoolExecutor(_CLIENTS) as pool:
            list(pool.map(_lose, [payments] * part))
        stripe.clear_faults()


def _lose(payments: Payments) -> None:
    order = PaymentOrder(new_id("user_"), new_id("BOOK-"), Decimal("25.50"), None, "credit_card")
    payments.pay(order, new_id("TXN-"))


def _let_be_due(count: int) -> None:
    """Make `count` payments due, alternating between charged ones and others."""
    waiting = [
        payment.id for payment in Transaction.objects(status="pending").only("id").order_by("created_at")
    ]
    half = len(waiting) // 2
    chosen = [one for pair in zip(waiting[:half], waiting[half:], strict=False) for one in pair][:count]
    if len(chosen) != count:
        raise SystemExit(f"{len(chosen)} payments are left, not {count}")
    # SecantusDB needs seconds for a thousand documents, and the client's timeout is ten seconds.
    for start in range(0, count, _BATCH):
        batch = Transaction.objects(id__in=chosen[start : start + _BATCH])
        batch.update(set__recover_after=utcnow() - timedelta(minutes=1))


def settle(settings: Settings, count: int, workers: int) -> Settled:
    """Settle a backlog with `workers` processes."""
    _let_be_due(count)
    processes = start_workers("benchmarks.recovery", settings, workers)
    started = time.monotonic()
    for process in processes:
        print("go", file=process.stdin, flush=True)
    while MongoLedger().due(utcnow() + timedelta(hours=1), 1):  # includes claimed payments
        time.sleep(_POLL_SECONDS)
    seconds = time.monotonic() - started
    did = [json.loads(process.communicate()[0]) for process in processes]
    requested = sum((Counter(one["requests"]) for one in did), Counter[str]())
    calls = sum((Counter(one["calls"]) for one in did), Counter[str]())
    return Settled(
        seconds,
        [one["settled"] for one in did],
        calls["listings"],
        calls["pages"],
        calls["pages"] + calls["others"],
        sum(times > 1 for times in requested.values()),
    )


def _wrong(settings: Settings) -> int:
    """Count payments whose outcome differs from the gateway's books."""
    charges = StripeSimulator(settings.payment_gateway_url).charges()
    charged = Counter(charge["metadata"]["transaction_id"] for charge in charges)
    settled = Transaction.objects(status__ne="pending").only("id", "status")
    return sum(charged[payment.id] != (payment.status == "completed") for payment in settled)


def main() -> None:
    """Print a line for each backlog."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--payments", type=int, nargs="+", default=[100, 1_000, 10_000])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return work()
    logs.configure("movieapp-cli", "ERROR")
    header = ("workers", "payments", "seconds", "listings", "pages", "all calls", "repeated", "shares")
    print(*(f"{name:>11}" for name in header))
    failed = 0
    for workers in options.workers:
        with servers() as settings:
            models.connect(settings)
            models.create_indexes()
            lose(settings, sum(options.payments))
            for count in options.payments:
                found = settle(settings, count, workers)
                numbers = (workers, count, round(found.seconds), found.listings, found.pages, found.calls)
                print(
                    *(f"{number:>11,}" for number in (*numbers, found.repeated)),
                    f"  {found.shares}",
                    flush=True,
                )
                failed += found.repeated
            failed += _wrong(settings)
            models.disconnect()
    if failed:
        raise SystemExit("a request was repeated, or an outcome is wrong")
    return None


if __name__ == "__main__":
    main()
