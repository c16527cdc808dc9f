"""Reconciliation: which state of a dispute it records."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest

from app.gateway import Charged, GatewayDispute
from app.payments import changes
from app.payments.reconcile import Difference, Reconciliation, repaired
from app.payments.records import Dispute
from tests.support.gateway import FakeGateway
from tests.unit.payments.conftest import START, Clock, Site


class _Listing(FakeGateway):
    """Lists `disputed`.

    Attributes:
        disputed: the gateway's disputes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disputed: list[GatewayDispute] = []

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
    assert repaired(found).repaired == "not recorded: the dispute is already recorded as under_review"
    assert [one.status for one in site.stored().disputes] == ["under_review"]
