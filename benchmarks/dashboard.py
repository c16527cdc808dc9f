"""Measure every dashboard page and list command with 100,000 stored payments and notifications.

    make bench PARTS=dashboard                     # or: python -m benchmarks.dashboard --size 5000

Each row has the median of the whole response, of the part outside MongoDB (the response without its
statements), and of this process's processor time. SecantusDB needs longer for a statement than MongoDB, so
only the last two are comparable. Exit code 1 if a page or command takes more than 300 ms outside MongoDB, or
does not respond. A CSV file, which is as long as its list, is not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from click.testing import CliRunner
from pymongo import UpdateMany, monitoring

from app import create_app, models
from app.channels import CHANNELS, ChannelName
from app.clock import utcnow
from app.models import Notification, Transaction
from app.payments.service import make_payments
from app.settings import Settings
from app.suppressions import SuppressionReason, make_suppressions
from app.telemetry import logs
from benchmarks.harness import servers
from benchmarks.notifications import exchange
from benchmarks.queries import Watch
from benchmarks.stored import LAST, deliver, delivery_id, fill, pay, payment_id
from cli.main import main as movieapp
from tests.support.commands import environment
from tests.support.dead_letters import bury, delivery_message

#: Maximum time outside MongoDB, in milliseconds.
_LIMIT = 300

#: Number of measurements for each row, and of stored dead letters.
_ROUNDS, _LETTERS = 5, 1_000

#: One in this many payments failed, has no outcome, or is disputed; one in this many notifications failed or
#: bounced.
_FAILED, _UNKNOWN, _DISPUTED, _REFUSED, _BOUNCED = 20, 5_000, 10_000, 50, 200


class _Clock(monitoring.CommandListener):
    """Add up the time of MongoDB's statements."""

    def __init__(self) -> None:
        self.milliseconds = 0.0

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Do nothing: the event at the end has the duration."""

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Add a statement's duration."""
        self.milliseconds += event.duration_micros / 1000

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Add a statement's duration."""
        self.milliseconds += event.duration_micros / 1000


@dataclass(frozen=True)
class Row:
    """The measurement of one page or command, in milliseconds.

    Attributes:
        outside: the part outside MongoDB, including RabbitMQ and Redis.
        processor: processor time of this process.
        failure: why there is no response, for example a statement beyond its time limit.
    """

    name: str
    whole: float
    outside: float
    processor: float
    failure: str = ""


def measure(clock: _Clock, name: str, call: Callable[[], str], rounds: int = _ROUNDS) -> Row:
    """Measure the second of two calls. The call returns why it failed."""
    # Try twice: SecantusDB may still be busy with a timed-out statement of the previous row.
    if call() and (failure := call()):
        return Row(name, 0, 0, 0, failure)
    whole, outside, processor = [], [], []
    for _ in range(rounds):
        clock.milliseconds, started, used = 0.0, time.perf_counter(), time.process_time()
        call()
        processor.append((time.process_time() - used) * 1000)
        whole.append((time.perf_counter() - started) * 1000)
        outside.append(whole[-1] - clock.milliseconds)
    return Row(name, *map(statistics.median, (whole, outside, processor)))


def store(settings: Settings, size: int) -> None:
    """Store payments and notifications with timestamps up to now, some of them failed, and dead letters."""
    [paid] = Transaction.select({"_id": pay(make_payments(settings))})
    paid = {name: value for name, value in paid.items() if not name.startswith("outbox")}
    [sent] = Notification.select({"_id": deliver(Watch(), 0)})
    rate = fill(settings.mongodb_uri, paid, sent, LAST - size, LAST)
    print(f"{size:,} of each are stored, {rate:,.0f} documents a second", file=sys.stderr)
    numbers = range(LAST - size, LAST)
    failed = [payment_id(each) for each in numbers[::_FAILED]]
    _change(Transaction, failed, status="failed", error_code="CARD_DECLINED")
    _change(Transaction, [payment_id(each) for each in numbers[1::_UNKNOWN]], status="pending")
    dispute = {"id": "dp_1", "status": "needs_response", "amount": paid["amount"], "at": utcnow()}
    _change(Transaction, [payment_id(each) for each in numbers[2::_DISPUTED]], disputes=[dispute])
    refused = [delivery_id(each) for each in numbers[::_REFUSED]]
    _change(Notification, refused, status="failed", error_message="550 5.7.1 <jane.doe@example.com>: refused")
    _change(Notification, [delivery_id(each) for each in numbers[1::_BOUNCED]], status="bounced")
    suppressions = make_suppressions(settings)
    for number in range(200):
        suppressions.suppress(
            ChannelName.EMAIL,
            f"{number}@example.com",
            reason=SuppressionReason.OPERATOR,
            source="an operator",
            now=utcnow(),
        )
    letters = [delivery_message(settings, str(each)) for each in refused[:_LETTERS]]
    with exchange(settings):
        bury(settings, CHANNELS[ChannelName.EMAIL].queue, letters)


def _change(record: Any, ids: list[Any], **fields: Any) -> None:
    for first in range(0, len(ids), 500):
        chosen = {"_id": {"$in": ids[first : first + 500]}}
        record._get_collection().bulk_write([UpdateMany(chosen, {"$set": fields})])


def pages(size: int) -> Iterator[tuple[str, str]]:
    """Yield the name and path of every page and of its filtered variants."""
    middle = LAST - size // 2
    payment, delivery = payment_id(middle), delivery_id(middle)
    booking = f"BOOK-{payment.removeprefix('TXN-')}"
    yield from ((f"overview, {span}", f"?span={span}") for span in ("1h", "24h", "7d", "30d"))
    today, month = (f"{utcnow() - timedelta(days=days):%Y-%m-%d}" for days in (1, 30))
    for name in ("payments", "notifications"):
        yield name, f"/{name}"
        yield f"{name}, failed", f"/{name}?status=failed"
        yield f"{name}, since yesterday", f"/{name}?from={today}"
        yield f"{name}, search", f"/{name}?search={booking[:12]}"
        yield f"{name}, search for an address", f"/{name}?search=jane.doe@example.com"
        yield f"{name}, totals since yesterday", f"/{name}/summary?from={today}"
        yield f"{name}, totals of 30 days", f"/{name}/summary?from={month}"
        yield f"{name}, totals of all", f"/{name}/summary"
        yield f"{name}, CSV since yesterday", f"/{name}.csv?from={today}"
    yield "notifications, by reason", "/notifications?reason=550+5.7.1+%E2%80%A6+refused"
    yield "a payment", f"/payments/{payment}"
    yield "a notification", f"/notifications/{delivery}"
    yield "dead letters", "/dead-letters"
    yield "dead letters, by error", "/dead-letters?error=5.7.1"
    yield "lockouts", "/attempts"
    yield "bulk refunds", "/refunds"
    yield "suppressions", "/suppressions"
    yield "suppressions, search", "/suppressions?q=7@example.com"


def commands(size: int) -> Iterator[str]:
    """Yield the commands that list or look up."""
    payment = payment_id(LAST - size // 2)
    yield from ("payments list", "payments list --status failed", f"payments show {payment}")
    yield from ("payments totals --since 1d", "payments totals", f"trace {payment}")
    yield from ("notifications list", "notifications list --status failed")
    yield from ("notifications list --recipient jane.doe@example.com", "notifications reasons --since 1d")
    yield from ("notifications reasons --status failed", f"notifications show {delivery_id(LAST - 1)}")
    yield from ("dead-letters list", "suppressions list", "attempts list", "refunds list", "keys list")
    yield from ("stats --since 1d", "audit list")


def responses(clock: _Clock, settings: Settings, size: int) -> Iterator[Row]:
    """Measure all pages and commands."""
    client = create_app(settings).test_client()

    def page(path: str) -> str:
        response = client.get(f"/dashboard{path}")
        return "" if response.status_code == 200 else f"{response.status}: {_words(response.text)}"

    for name, path in pages(size):
        yield measure(clock, name, lambda path=path: page(path))  # type: ignore[misc] # mypy #15459
    runner, given = CliRunner(), environment(settings) | {"MOVIEAPP_DATA_DIR": os.devnull}

    def command(words: str) -> str:
        done = runner.invoke(movieapp, words.split(), env=given)
        return "" if done.exit_code == 0 else f"exit code {done.exit_code}: {done.output.strip()[-120:]}"

    for words in commands(size):
        yield measure(clock, f"movieapp {words}"[:60], lambda words=words: command(words))  # type: ignore[misc] # the same


def _words(page: str) -> str:
    return page.partition("<p>")[2].partition("</p>")[0][:120]


def main() -> None:
    """Print a table of medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=100_000)
    size = parser.parse_args().size
    logs.configure("movieapp-cli", "ERROR")
    clock = _Clock()
    monitoring.register(clock)
    slow = 0
    with servers() as settings:
        models.connect(settings)
        store(settings, size)
        print(f"{'milliseconds':62}{'whole':>9}{'outside MongoDB':>17}{'processor':>11}")
        for row in responses(clock, settings, size):
            slow += bool(row.failure) or (row.outside > _LIMIT and "CSV" not in row.name)
            found = row.failure or f"{row.whole:9.1f}{row.outside:17.1f}{row.processor:11.1f}"
            print(f"{row.name:62}{found}", flush=True)
        models.disconnect()
    if slow:
        raise SystemExit(f"{slow} of them take more than {_LIMIT} ms outside MongoDB, or do not respond")


if __name__ == "__main__":
    main()
