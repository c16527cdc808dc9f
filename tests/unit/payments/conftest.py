"""The payment service in memory: a ledger, a gateway, and a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.gateway import GatewayPayment, GatewayRefund, PaymentOutcome, Refunded
from app.payments.books import Books
from app.payments.ledger.memory import MemoryLedger
from app.payments.orders import PaymentOrder
from app.payments.records import Payment
from app.payments.service import Payments
from app.payments.states import Actor, PaymentStatus
from app.settings import Settings
from tests.support.gateway import FakeGateway

START = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
TXN = "TXN-1"


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        """Advance by a `timedelta` with these arguments."""
        self.now += timedelta(**time)


@dataclass
class Site:
    """The payment service and its dependencies.

    Attributes:
        announced: bookings with an event to publish, in order.
    """

    settings: Settings
    clock: Clock
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    gateway: FakeGateway = field(default_factory=FakeGateway)
    announced: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.payments = self.with_settings()

    def with_settings(self, **changes: Any) -> Payments:
        """Return the same service with other settings."""
        self.settings = self.settings.model_copy(update=changes)
        books = Books(self.ledger, self.announced.append, lambda seconds: self.clock.pass_by(seconds=seconds))
        self.payments = Payments(self.settings, self.gateway, books)
        return self.payments

    def order(self, **changes: Any) -> PaymentOrder:
        """A payment of 25 USD for BOOK-1, by token."""
        order = PaymentOrder("user_1", "BOOK-1", Decimal(25), "USD", "credit_card", payment_token="pm_token")
        return replace(order, **changes)

    def pay(self, transaction_id: str = TXN, **changes: Any) -> Payment:
        return self.payments.pay(self.order(**changes), transaction_id).payment

    def stored(self, transaction_id: str = TXN) -> Payment:
        found = self.ledger.find(transaction_id)
        assert found
        return found

    def fact(self, outcome: PaymentOutcome, gateway_id: str = "pi_1", **changes: Any) -> GatewayPayment:
        """Return a gateway payment that agrees with TXN-1, and store it at the gateway."""
        fact = GatewayPayment(
            gateway_id,
            self.settings.namespace,
            TXN,
            "BOOK-1",
            "user_1",
            Decimal(25),
            "USD",
            START,
            outcome,
        )
        fact = replace(fact, **changes)
        self.gateway.payments_there[gateway_id] = fact
        return fact

    def refund_fact(self, gateway_id: str = "re_1", **changes: Any) -> GatewayRefund:
        """Return a refund of 10 USD at the gateway that was made elsewhere."""
        fact = GatewayRefund(gateway_id, None, "pi_1", Decimal(10), "USD", START, Refunded(gateway_id))
        fact = replace(fact, **changes)
        self.gateway.refunds_there[gateway_id] = fact
        return fact


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    created = Clock()
    for module in ("service", "refunds", "recovery", "webhooks", "books"):
        monkeypatch.setattr(f"app.payments.{module}.utcnow", created)
    return created


@pytest.fixture
def site(settings: Settings, clock: Clock) -> Site:
    return Site(settings, clock)


def statuses(payment: Payment) -> list[tuple[str, Actor]]:
    """Return the actors and statuses of the payment's history, in order."""
    return [(step.status, step.actor) for step in payment.history]


def event_types(payment: Payment) -> list[str]:
    """Return the unpublished events, in order."""
    return [entry.event_type for entry in payment.outbox]


def payment(status: PaymentStatus = PaymentStatus.COMPLETED, **changes: Any) -> Payment:
    """A record of 25 USD."""
    created = Payment(
        TXN, status, "BOOK-1", "user_1", Decimal(25), "USD", "credit_card", START, gateway_id="pi_1"
    )
    return replace(created, **changes)
