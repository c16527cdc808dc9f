"""Gateway facts that may change a record, and those that may not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from app.gateway import Charged, GatewayPayment
from app.payments.agreement import disagreement
from app.payments.records import Payment
from app.payments.states import PaymentStatus

NOW = datetime(2026, 12, 1, 18, 30, tzinfo=UTC)
RECORD = Payment(
    id="TXN-1",
    status=PaymentStatus.PENDING,
    booking_id="BOOK-1",
    user_id="user_1",
    amount=Decimal("50.00"),
    currency="USD",
    payment_method="credit_card",
    created_at=NOW,
    attempted_at=NOW,
)
FACT = GatewayPayment(
    gateway_id="pi_1",
    namespace="shop",
    transaction_id="TXN-1",
    booking_id="BOOK-1",
    user_id="user_1",
    amount=Decimal(50),
    currency="USD",
    created_at=NOW,
    outcome=Charged("pi_1"),
)


def test_a_fact_that_agrees_in_every_field_is_ours() -> None:
    assert disagreement(RECORD, FACT, "shop") is None
    assert disagreement(replace(RECORD, gateway_id="pi_1"), FACT, "shop") is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", "other"),
        ("namespace", ""),
        ("transaction_id", "TXN-2"),
        ("transaction_id", None),
        ("booking_id", "BOOK-2"),
        ("amount", Decimal("50.01")),
        ("currency", "EUR"),
    ],
)
def test_a_fact_that_differs_in_one_field_is_not_ours(field: str, value: object) -> None:
    foreign = replace(FACT, **{field: value})  # type: ignore[arg-type]
    assert disagreement(RECORD, foreign, "shop") == field


def test_a_second_payment_at_the_gateway_is_not_ours() -> None:
    assert disagreement(replace(RECORD, gateway_id="pi_0"), FACT, "shop") == "gateway_id"


def test_a_payment_from_before_namespaces_is_still_ours() -> None:
    old = replace(RECORD, attempted_at=None)
    assert disagreement(old, replace(FACT, namespace=""), "shop") is None
    assert disagreement(old, replace(FACT, namespace="other"), "shop") == "namespace"
