"""Attempts, facts, and refunds that arrive late, out of order, or from other applications."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.gateway import (
    Charged,
    GatewayPayment,
    GatewayRefund,
    GatewayUnavailable,
    Refunded,
    RefundFailed,
    Refused,
    Unknown,
)
from app.idempotency import Attempt
from app.payments import attempts, changes
from app.payments.books import Books
from app.payments.ledger.memory import MemoryLedger
from app.payments.orders import PaymentOrder, RefundOrder
from app.payments.reconcile import Reconciliation
from app.payments.records import Payment, Refund, Step
from app.payments.recovery import recover_due
from app.payments.service import Payments
from app.payments.states import Actor, PaymentStatus, RefundStatus
from app.settings import Settings

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
ORDER = PaymentOrder("user_1", "BOOK-1", Decimal("25.00"), "USD", "credit_card")
REFUND_ORDER = RefundOrder("TXN-1", "BOOK-1", "user_1", "changed my mind", Decimal("20.00"))
REFUSED = Refused("AuthenticationError 401", transient=True)


class ScriptedGateway:
    """Gateway that responds with its attributes and counts its calls."""

    default_test_method = "pm_card_visa"

    def __init__(self) -> None:
        self.outcome: Any = Unknown("lost")
        self.charges: list[GatewayPayment] = []
        self.refunds_made: list[GatewayRefund] = []
        self.unusable: set[str] = set()
        self.sealed: list[str] = []
        self.requested: list[Any] = []

    def admitted(self, *_share: Any) -> Any:
        return nullcontext()

    def charge(self, charge: Any) -> Any:
        self.requested.append(charge)
        return self.outcome

    def refund(self, request: Any) -> Any:
        self.requested.append(request)
        return self.outcome

    def payments(self, *_window: Any) -> Iterator[GatewayPayment]:
        return iter(self.charges)

    def refunds(self, **_window: Any) -> Iterator[GatewayRefund]:
        return iter(self.refunds_made)

    def disputes(self, *_window: Any) -> Iterator[Any]:
        return iter(())

    def seal(self, key: str, *_amount: Any) -> bool:
        if key in self.unusable:
            raise GatewayUnavailable("500")
        self.sealed.append(key)
        return True


@pytest.fixture
def gateway() -> ScriptedGateway:
    return ScriptedGateway()


@pytest.fixture
def payments(gateway: ScriptedGateway) -> Payments:
    values: dict[str, Any] = {"payment_gateway_api_key": "sk_test_x", "namespace": "shop"}
    settings = Settings(_env_file=None, **values)
    return Payments(settings, gateway, Books(MemoryLedger(), sleep=lambda _seconds: None))  # type: ignore[arg-type]


def record(number: int = 1, status: PaymentStatus = PaymentStatus.PENDING, **fields: Any) -> Payment:
    payment = Payment(
        id=f"TXN-{number}",
        status=status,
        booking_id=f"BOOK-{number}",
        user_id="user_1",
        amount=Decimal("25.00"),
        currency="USD",
        payment_method="credit_card",
        created_at=LONG_AGO,
        recover_after=LONG_AGO + timedelta(minutes=1),
        gateway_method="pm_card_visa",
        history=(Step(LONG_AGO, status, Actor.API),),
    )
    return replace(payment, **fields)


def completed(**fields: Any) -> Payment:
    return record(status=PaymentStatus.COMPLETED, gateway_id="pi_1", recover_after=None, **fields)


def charge(payment: Payment, gateway_id: str = "pi_1", **fields: Any) -> GatewayPayment:
    created = GatewayPayment(
        gateway_id,
        "shop",
        payment.id,
        payment.booking_id,
        payment.user_id,
        payment.amount,
        payment.currency,
        LONG_AGO,
        Charged(gateway_id),
    )
    return replace(created, **fields)


def refund(gateway_id: str, outcome: Any, refund_id: str | None = None) -> GatewayRefund:
    return GatewayRefund(gateway_id, refund_id, "pi_1", Decimal("25.00"), "USD", LONG_AGO, outcome)


def run_in_turn(act: Any, items: Sequence[Any]) -> None:
    for item in items:
        act(item)


def resumed() -> Attempt:
    return Attempt("TXN-1", resumed=True)


def pay(payments: Payments, attempt: Attempt) -> Payment:
    return attempts.pay(payments, ORDER, attempt, str).payment


def test_recovery_finds_our_charge_beside_one_with_a_copied_id(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    payment = record()
    payments.books.open(payment)
    gateway.charges = [charge(payment), charge(payment, "pi_2", amount=Decimal("0.50"))]
    recover_due(payments, run=run_in_turn)
    found = payments.books.get("TXN-1")
    assert (found.status, found.gateway_id) == (PaymentStatus.COMPLETED, "pi_1")


def test_recovery_fails_a_payment_of_which_only_a_copy_was_charged(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    payment = record()
    payments.books.open(payment)
    gateway.charges = [charge(payment, "pi_2", booking_id="BOOK-2")]
    recover_due(payments, run=run_in_turn)
    assert payments.books.get("TXN-1").status == PaymentStatus.FAILED
    assert gateway.sealed == ["TXN-1"]


def test_recovery_finds_our_refund_beside_one_with_a_copied_id(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    due = LONG_AGO + timedelta(minutes=1)
    pending = Refund("REF-1", RefundStatus.PENDING, Decimal("25.00"), "changed my mind", LONG_AGO)
    open_refund = completed(refunds=(pending,), refund_reserved=pending.amount)
    payments.books.open(replace(open_refund, recover_after=due))
    copied = replace(refund("re_2", Refunded("re_2"), "REF-1"), payment_gateway_id="pi_2")
    gateway.refunds_made = [refund("re_1", Refunded("re_1"), "REF-1"), copied]
    recover_due(payments, run=run_in_turn)
    (found,) = payments.books.get("TXN-1").refunds
    assert (found.status, found.gateway_id) == (RefundStatus.COMPLETED, "re_1")


def test_recovery_continues_after_one_unusable_response(payments: Payments, gateway: ScriptedGateway) -> None:
    for number in range(1, 4):
        payments.books.open(record(number))
    gateway.unusable = {"TXN-1"}
    recover_due(payments, run=run_in_turn)
    statuses = [payments.books.get(f"TXN-{number}").status for number in range(1, 4)]
    assert statuses == [PaymentStatus.PENDING, PaymentStatus.FAILED, PaymentStatus.FAILED]


def test_recovery_stops_after_several_unusable_responses(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    for number in range(1, 12):
        payments.books.open(record(number))
    gateway.unusable = {f"TXN-{number}" for number in range(1, 11)}
    recover_due(payments, run=run_in_turn)
    assert not gateway.sealed


def test_refusal_of_a_second_request_does_not_settle_the_first_charge(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    payments.books.open(record())
    gateway.outcome = REFUSED
    assert pay(payments, resumed()).status == PaymentStatus.PENDING


def test_refusal_of_a_second_request_does_not_settle_the_first_refund(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    pending = Refund("REF-1", RefundStatus.PENDING, Decimal("25.00"), "changed my mind", LONG_AGO)
    payments.books.open(completed(refunds=(pending,), refund_reserved=pending.amount))
    gateway.outcome = REFUSED
    _, found = payments.refunds.resume(payments.books.get("TXN-1"), "REF-1")
    assert found.status == RefundStatus.PENDING


def test_attempt_without_a_record_is_sealed_before_another_is_made(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    gateway.outcome = Charged("pi_2")
    attempt = resumed()
    payment = pay(payments, attempt)
    assert gateway.sealed == ["TXN-1"]
    assert payment.id == attempt.transaction_id != "TXN-1"


def test_refund_that_a_late_attempt_has_recorded_is_not_refused_for_its_own_amount(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    created = Refund("REF-1", RefundStatus.COMPLETED, Decimal("20.00"), "changed my mind", LONG_AGO, "re_1")
    payments.books.open(completed(refunds=(created,), refund_reserved=created.amount))
    _, found = payments.refunds.refund(REFUND_ORDER, "REF-1")
    assert found == created


def test_failed_refund_is_recorded_before_its_replacement(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    first = Refund("REF-1", RefundStatus.COMPLETED, Decimal("25.00"), "changed my mind", LONG_AGO, "re_1")
    whole = Decimal("25.00")
    refunded = completed(refunds=(first,), refund_reserved=whole, amount_refunded=whole)
    payments.books.open(replace(refunded, status=PaymentStatus.REFUNDED))
    gateway.refunds_made = [
        refund("re_2", Refunded("re_2")),
        refund("re_1", RefundFailed("re_1", "bank"), "REF-1"),
    ]
    found = payments.refunds.synchronize(payments.books.get("TXN-1"), Actor.WEBHOOK)
    assert (found.status, found.amount_refunded) == (PaymentStatus.REFUNDED, whole)
    assert [one.status for one in found.refunds] == [RefundStatus.FAILED, RefundStatus.COMPLETED]


def test_late_success_of_a_refund_that_failed_since_changes_nothing(payments: Payments) -> None:
    failed = Refund("REF-1", RefundStatus.FAILED, Decimal("25.00"), "changed my mind", LONG_AGO, "re_1")
    payments.books.open(completed(refunds=(failed,)))
    found = payments.refunds.record(payments.books.get("TXN-1"), "REF-1", Refunded("re_1"), Actor.API)
    assert (found.status, found.amount_refunded) == (PaymentStatus.COMPLETED, Decimal(0))


def test_refund_of_a_payment_that_is_not_settled_waits(payments: Payments, gateway: ScriptedGateway) -> None:
    payments.books.open(record(gateway_id="pi_1"))
    fact = refund("re_1", Refunded("re_1"))
    found = payments.refunds.record_fact(payments.books.get("TXN-1"), fact, Actor.OPERATOR)
    assert (found.status, found.refunds) == (PaymentStatus.PENDING, ())


def stray(**fields: Any) -> Payment:
    return record(status=PaymentStatus.FAILED, gateway_id="pi_1", stray_charge="pi_1", **fields)


def test_rest_of_a_stray_charge_is_refunded(payments: Payments, gateway: ScriptedGateway) -> None:
    created = Refund("REF-1", RefundStatus.COMPLETED, Decimal("7.00"), "dashboard", LONG_AGO, "re_1")
    given = {"refunds": (created,), "refund_reserved": created.amount, "amount_refunded": created.amount}
    payments.books.open(stray(**given))
    gateway.outcome = Refunded("re_2")
    found = payments.refunds.refund_stray(payments.books.get("TXN-1"), Actor.RECOVERY)
    assert (found.status, found.amount_refunded) == (PaymentStatus.REFUNDED, Decimal("25.00"))
    assert found.stray_charge is None


def test_stray_charge_that_cannot_be_refunded_is_left_to_an_operator(
    payments: Payments, gateway: ScriptedGateway
) -> None:
    refunds = tuple(
        Refund(f"REF-{number}", RefundStatus.FAILED, Decimal("25.00"), "stray", LONG_AGO)
        for number in range(changes.MAX_REFUNDS)
    )
    payments.books.open(stray(refunds=refunds))
    found = payments.refunds.refund_stray(payments.books.get("TXN-1"), Actor.RECOVERY)
    assert (len(found.refunds), found.recover_after) == (changes.MAX_REFUNDS, None)
    assert not gateway.requested
    gateway.outcome = Refunded("re_2")
    found = payments.refunds.refund_stray(payments.books.get("TXN-1"), Actor.OPERATOR)
    assert (found.status, len(found.refunds)) == (PaymentStatus.REFUNDED, changes.MAX_REFUNDS + 1)


@pytest.mark.parametrize("reverse", [False, True])
def test_reconciliation_is_not_misled_by_a_copied_id(
    payments: Payments, gateway: ScriptedGateway, reverse: bool
) -> None:
    payment = record(status=PaymentStatus.FAILED, recover_after=None)
    payments.books.open(payment)
    created = [charge(payment), charge(payment, "pi_2", amount=Decimal("0.50"))]
    gateway.charges = created[::-1] if reverse else created
    found = {one.kind: one.repair for one in Reconciliation(payments, LONG_AGO).differences()}
    assert set(found) == {"amount differs", "charged, recorded as failed"}
    assert found["charged, recorded as failed"]
