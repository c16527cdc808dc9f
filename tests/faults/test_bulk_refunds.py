"""Hundreds of refunds while the gateway refuses and loses responses and the process is killed three times.

Each payment is refunded exactly once, and both books agree.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from app import models
from app.clock import utcnow
from app.ids import new_id
from app.models import Transaction
from app.payments.bulk.store import RunStore
from app.payments.orders import PaymentOrder
from app.payments.reconcile import Reconciliation
from app.payments.service import make_payments
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.servers import WorkerProcess
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

#: Number of refunds: 120 keep the suite fast; BULK_REFUNDS=1000 runs more.
COUNT = int(os.environ.get("BULK_REFUNDS", "120"))
REFUND = "POST /v1/refunds"


@pytest.fixture
def paying(redis_settings: Settings, private_stripe: StripeSimulator) -> Settings:
    models.connect(redis_settings)
    models.create_indexes()
    impatient = {"payment_gateway_read_timeout": 2.0, "payment_gateway_max_retries": 0}
    return redis_settings.model_copy(update=private_stripe.settings | impatient)


def pay_all(settings: Settings, count: int) -> list[str]:
    side = make_payments(settings)

    def pay(number: int) -> str:
        order = PaymentOrder(f"user_{number}", f"BOOK-{number}", Decimal(10), "USD", "credit_card")
        return side.pay(order, new_id("TXN-")).payment.id

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(pay, range(count)))


def trouble(stripe: StripeSimulator, count: int) -> None:
    """Make the gateway refuse requests and lose responses, a dozen times in turn."""
    for _ in range(6):
        stripe.fault(match=REFUND, kind="none", times=count // 12 - 3)
        stripe.fault(match=REFUND, kind="error", status=429, times=4)
        stripe.fault(match=REFUND, kind="none", times=count // 12 - 3)
        stripe.fault(match=REFUND, kind="drop_after", times=2)


def refunded() -> int:
    count: int = Transaction.objects(status="refunded").count()
    return count


@contextmanager
def bulk(settings: Settings, directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `movieapp refunds bulk` in the background."""
    with (directory / "bulk.log").open("ab") as output:
        process = subprocess.Popen(
            [*MOVIEAPP, "--data-dir", str(directory / "none"), "refunds", "bulk", *arguments, "--yes"],
            env=environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()


def kill_after(process: subprocess.Popen[bytes], count: int, log: Path) -> None:
    wait_for(lambda: refunded() >= count or process.poll() is not None, 240, "no refunds were made")
    assert process.poll() is None, log.read_text()[-2000:]
    process.send_signal(signal.SIGKILL)
    process.wait()


def refunds_there(stripe: StripeSimulator) -> list[dict[str, Any]]:
    return [refund for refund in stripe.state()["refunds"] if refund["status"] == "succeeded"]


def test_each_payment_is_refunded_once_even_if_the_process_is_killed_repeatedly(
    paying: Settings, private_stripe: StripeSimulator, tmp_path: Path
) -> None:
    started = time.monotonic()
    transactions = pay_all(paying, COUNT)
    paid = time.monotonic()
    file, log = tmp_path / "transactions.csv", tmp_path / "bulk.log"
    file.write_text("\n".join(["transaction_id", *transactions]))
    trouble(private_stripe, COUNT)
    with bulk(paying, tmp_path, str(file), "--rate", "100") as first:
        kill_after(first, COUNT // 6, log)
    with bulk(paying, tmp_path, str(file)) as again:
        kill_after(again, COUNT // 3, log)
    [run] = RunStore().newest()
    with bulk(paying, tmp_path, "--resume", run.id) as resumed:
        kill_after(resumed, COUNT // 2, log)
    with WorkerProcess(tmp_path, paying):
        wait_for(lambda: RunStore().find(run.id).status == "finished", 400, "the worker did not go on")
        wait_for(lambda: refunded() == COUNT, 60, "recovery did not find the rest")
    print(f"{COUNT} paid in {paid - started:.1f} s, refunded in {time.monotonic() - paid:.1f} s")  # noqa: T201

    there = Counter(refund["payment_intent"] for refund in refunds_there(private_stripe))
    here = {payment.gateway_id: payment for payment in Transaction.objects}
    assert there == dict.fromkeys(here, 1)
    for payment in here.values():
        [created] = [refund for refund in payment.refunds if refund.status == "completed"]
        assert created.amount == payment.amount_refunded == payment.refund_reserved == Decimal(10)
    since = utcnow() - timedelta(hours=1)
    assert list(Reconciliation(make_payments(paying), since).differences()) == []
    ended = movieapp(paying, "refunds", "show", run.id, "--json")
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["sums"] == [
        {"outcome": "refunded", "currency": "USD", "count": COUNT, "amount": str(Decimal("10.00") * COUNT)}
    ]
