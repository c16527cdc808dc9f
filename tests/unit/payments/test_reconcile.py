"""Reconciliation: which refunds differ, and which state of a dispute it records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from app.gateway import (
    Charged,
    GatewayDispute,
    GatewayRefund,
    Refunded,
    RefundFailed,
    RefundOutcome,
    RefundPending,
)
from app.payments import changes
from app.payments.orders import RefundOrder
from app.payments.reconcile import Difference, Reconciliation, Repair, repaired
from app.payments.records import Dispute
from app.payments.states import Actor
from tests.support.gateway import FakeGateway
from tests.unit.payments.conftest import START, TXN, Clock, Site


class _Listing(FakeGateway):
    """Lists refunds by their time of creation, as Stripe does, and `disputed`.

    Attributes:
        disputed: the gateway's disputes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disputed: list[GatewayDispute] = []

    def refunds(
        self, *, payment: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[GatewayRefund]:
        for refund in super().refunds(payment=payment, since=since, until=until):
            if since is None or refund.created_at >= since:
                yield refund

    def disputes(self, since: datetime) -> Iterator[GatewayDispute]:
        return iter(self.disputed)


@pytest.fixture
def gateway(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> _Listing:
    monkeypatch.setattr("app.payments.reconcile.utcnow", clock)
    site.gateway = gateway = _Listing()
    site.with_settings()
    site.pay()
    site.fact(Charged("pi_1"))
    return gateway


def differences(site: Site) -> Iterator[Difference]:
    return Reconciliation(site.payments, site.clock() - timedelta(days=7)).differences()


@pytest.mark.parametrize(
    ("now_there", "kinds"),
    [
        (Refunded("re_1"), []),
        (RefundFailed("re_1", "expired_or_canceled_card"), ["refund failed, recorded as completed"]),
        (None, ["refund record without refund"]),
    ],
)
def test_a_refund_that_was_pending_for_longer_than_the_period_is_looked_up(
    site: Site, gateway: _Listing, now_there: RefundOutcome | None, kinds: list[str]
) -> None:
    gateway.refund_outcome = RefundPending("re_1", "pending")
    order = RefundOrder(TXN, "BOOK-1", "user_1", "Customer cancellation", Decimal(10))
    site.payments.refunds.refund(order, "REF-1")
    site.clock.pass_by(days=8)
    fact = site.refund_fact(refund_id="REF-1")
    site.payments.refunds.record_fact(site.stored(), fact, Actor.WEBHOOK)
    site.clock.pass_by(days=1)
    gateway.refunds_there.clear()
    if now_there:
        site.refund_fact(refund_id="REF-1", outcome=now_there)
    assert [found.kind for found in differences(site)] == kinds


def test_a_repair_keeps_the_state_of_a_dispute_that_changed_after_the_listing(
    site: Site, gateway: _Listing
) -> None:
    gateway.disputed = [
        GatewayDispute("du_1", "pi_1", "needs_response", Decimal(25), "USD", None, None, START)
    ]
    [found] = differences(site)
    site.clock.pass_by(seconds=60)
    newer = Dispute("du_1", "under_review", site.clock())
    site.payments.books.change(site.stored(), lambda stored: changes.dispute_noted(stored, newer, START))
    site.clock.pass_by(seconds=60)
    assert repaired(found).repaired == "the dispute is already recorded as under_review, which is newer"
    assert [one.status for one in site.stored().disputes] == ["under_review"]


def test_a_payment_that_completes_after_the_listing_is_no_difference(
    site: Site, gateway: _Listing, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.clock.pass_by(seconds=3_600)
    monkeypatch.setattr(gateway, "payments", lambda *_, **__: iter(()))
    assert [found.kind for found in differences(site)] == []
    monkeypatch.setattr(gateway, "payment", lambda _: None)
    assert [found.kind for found in differences(site)] == ["record without charge"]


def test_a_repair_that_fails_leaves_the_difference() -> None:
    found = Difference(
        "charge without record", TXN, "pi_1", Repair("record as completed", lambda: ("no", False))
    )
    assert repaired(found) == replace(found, detail="pi_1; no")
    done = replace(found, repair=Repair("record as completed", lambda: ("yes", True)))
    assert repaired(done) == replace(done, repaired="yes")
