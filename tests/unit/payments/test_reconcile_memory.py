"""Reconciliation uses the same memory whatever the number of payments."""

from __future__ import annotations

import tracemalloc
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TypeVar

import pytest

from app.clock import utcnow
from app.disk_set import DiskSet
from app.gateway import Charged, GatewayDispute, GatewayPayment
from app.payments.ledger.memory import MemoryLedger
from app.payments.reconcile import Reconciliation
from app.payments.records import Payment
from app.payments.service import Payments
from tests.support.gateway import FakeGateway
from tests.unit.payments.conftest import Site, payment

T = TypeVar("T")

ONE_HOUR = timedelta(hours=1)

#: Our record is missing for this payment, and the gateway's charge for that one.
UNRECORDED, UNCHARGED = 7, 11


class _ManyPayments(MemoryLedger):
    """A ledger of `count` payments, without one. It creates each record when it is read."""

    def __init__(self, count: int, created_at: datetime) -> None:
        super().__init__()
        self._count, self._created_at = count, created_at

    def _record(self, number: int) -> Payment:
        return payment(id=f"TXN-{number:032x}", gateway_id=f"pi_{number}", created_at=self._created_at)

    def find_all(self, transaction_ids: Collection[str]) -> dict[str, Payment]:
        numbers = (int(one.removeprefix("TXN-"), 16) for one in transaction_ids)
        found = (self._record(number) for number in numbers if number != UNRECORDED)
        return {record.id: record for record in found}

    def paid_since(self, since: datetime, until: datetime) -> Iterator[Payment]:
        return (self._record(number) for number in range(self._count) if number != UNRECORDED)


class _ManyCharges(FakeGateway):
    """Lists a charge for each payment, all but one, without keeping any."""

    def __init__(self, count: int, fact: GatewayPayment) -> None:
        super().__init__()
        self._count, self._fact = count, fact

    def payments(self, since: datetime, until: datetime | None = None) -> Iterator[GatewayPayment]:
        for number in range(self._count):
            if number != UNCHARGED:
                gateway_id = f"pi_{number}"
                yield replace(
                    self._fact,
                    gateway_id=gateway_id,
                    transaction_id=f"TXN-{number:032x}",
                    outcome=Charged(gateway_id),
                )

    def disputes(self, since: datetime) -> Iterator[GatewayDispute]:
        return iter(())


def many(site: Site, count: int) -> Payments:
    site.ledger = _ManyPayments(count, utcnow() - ONE_HOUR)
    site.gateway = _ManyCharges(count, site.fact(Charged("pi_1")))
    return site.with_settings()


def peak_bytes(payments: Payments) -> int:
    """Return the largest memory of a reconciliation, which finds both differences."""
    tracemalloc.start()
    try:
        found = list(Reconciliation(payments, utcnow() - 2 * ONE_HOUR).differences())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert [(one.kind, one.subject) for one in found] == [
        ("charge without record", f"TXN-{UNRECORDED:032x}"),
        ("record without charge", f"TXN-{UNCHARGED:032x}"),
    ]
    return peak


def test_ten_times_the_payments_need_no_more_memory(site: Site) -> None:
    few = peak_bytes(many(site, 1_000))
    # A thousand ids take 100 KB in a set.
    assert peak_bytes(many(site, 10_000)) < few + 100_000


def test_progress_is_shown_with_the_number_of_payments(site: Site) -> None:
    shown: dict[str, tuple[int, int]] = {}

    def watch(items: Iterable[T], total: int, label: str) -> Iterator[T]:
        listed = list(items)
        yield from listed
        shown[label] = (len(listed), total)

    list(Reconciliation(many(site, 300), utcnow() - 2 * ONE_HOUR, watch).differences())
    assert shown == {"Comparing charges": (299, 299), "Comparing records": (299, 299)}


def test_a_closed_set_has_no_file() -> None:
    ids = DiskSet()
    ids.add("TXN-1")
    ids.add("TXN-1")
    assert ("TXN-1" in ids, "TXN-2" in ids) == (True, False)
    ids.close()
    with pytest.raises(Exception, match="closed"):
        ids.add("TXN-2")
