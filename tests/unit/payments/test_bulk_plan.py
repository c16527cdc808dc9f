"""The plan of a bulk refund: which payments are refunded, why others are not, and the total to repeat."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.payments.bulk.plan import decide, digest_of, repeats_total, total_text, totals_of
from app.payments.bulk.records import Entry, LineStatus, Verdict
from app.payments.changes import MAX_REFUNDS
from app.payments.records import Dispute, Payment, Refund
from app.payments.states import PaymentStatus, RefundStatus
from tests.unit.payments.conftest import START


def paid(name: str = "TXN-1", booking: str = "BOOK-1", **fields: Any) -> Payment:
    payment = Payment(
        id=name,
        status=PaymentStatus.COMPLETED,
        booking_id=booking,
        user_id="user_1",
        amount=Decimal("50.00"),
        currency="USD",
        payment_method="credit_card",
        created_at=START,
    )
    return replace(payment, **fields)


def refund(status: RefundStatus = RefundStatus.COMPLETED, number: int = 1) -> Refund:
    return Refund(f"REF-{number}", status, Decimal(1), "r", START)


@pytest.mark.parametrize(
    ("fields", "verdict", "amount"),
    [
        ({}, Verdict.REFUND, Decimal("50.00")),
        ({"status": "partially_refunded", "refund_reserved": Decimal(20)}, Verdict.REST, Decimal("30.00")),
        ({"status": "refunded", "refund_reserved": Decimal(50)}, Verdict.ALREADY_REFUNDED, None),
        ({"refund_reserved": Decimal("50.00")}, Verdict.REFUND_PENDING, None),
        ({"status": "pending"}, Verdict.PENDING, None),
        ({"status": "requires_action"}, Verdict.PENDING, None),
        ({"status": "canceled"}, Verdict.CANCELED, None),
        ({"status": "failed"}, Verdict.FAILED, None),
        ({"disputes": (Dispute("dp_1", "needs_response", START),)}, Verdict.DISPUTED, None),
        ({"disputes": (Dispute("dp_1", "won", START),)}, Verdict.REFUND, Decimal("50.00")),
        (
            {"refunds": tuple(refund(RefundStatus.FAILED, number) for number in range(MAX_REFUNDS))},
            Verdict.NOT_REFUNDABLE,
            None,
        ),
    ],
)
def test_each_state_of_a_payment_has_its_verdict(
    fields: dict[str, Any], verdict: Verdict, amount: Decimal | None
) -> None:
    if status := fields.get("status"):
        fields = fields | {"status": PaymentStatus(status)}
    [line] = decide([Entry(1, "TXN-1")], {"TXN-1": paid(**fields)}, {})
    assert (line.verdict, line.amount) == (verdict, amount)
    assert line.status == (LineStatus.OPEN if amount else LineStatus.EXCLUDED)


def test_unknown_payments_other_bookings_and_refused_bookings_are_named() -> None:
    payment = paid()
    lines = decide(
        [Entry(1, "TXN-9"), Entry(2, "TXN-1", "BOOK-9"), Entry(3, booking_id="BOOK-1", eligible=False)],
        {"TXN-1": payment},
        {"BOOK-1": [payment]},
    )
    assert [line.verdict for line in lines] == [
        Verdict.UNKNOWN,
        Verdict.OTHER_BOOKING,
        Verdict.NOT_ELIGIBLE,
    ]
    assert totals_of(lines) == {}


def test_a_payment_is_refunded_once_even_if_listed_by_several_ids() -> None:
    payment = paid()
    entries = [Entry(1, "TXN-1"), Entry(2, booking_id="BOOK-1"), Entry(3, "TXN-1", "BOOK-1")]
    lines = decide(entries, {"TXN-1": payment}, {"BOOK-1": [payment]})
    assert [line.verdict for line in lines] == [Verdict.REFUND, Verdict.DUPLICATE, Verdict.DUPLICATE]
    assert totals_of(lines) == {"USD": Decimal("50.00")}


def test_a_booking_id_selects_its_paid_payment() -> None:
    later = START + timedelta(minutes=1)
    payments = [
        paid("TXN-1", status=PaymentStatus.REFUNDED, created_at=later),
        paid("TXN-2"),
        paid("TXN-3", status=PaymentStatus.FAILED, created_at=later),
    ]
    [line] = decide([Entry(1, booking_id="BOOK-1")], {}, {"BOOK-1": payments})
    assert (line.transaction_id, line.verdict) == ("TXN-2", Verdict.REFUND)
    [line] = decide([Entry(1, booking_id="BOOK-1")], {}, {"BOOK-1": [payments[0], payments[2]]})
    assert (line.transaction_id, line.verdict) == ("TXN-1", Verdict.ALREADY_REFUNDED)


def test_totals_are_by_currency_and_repeated_exactly() -> None:
    payments = {
        "TXN-1": paid(),
        "TXN-2": paid("TXN-2", "BOOK-2", amount=Decimal(5000), currency="JPY"),
        "TXN-3": paid("TXN-3", "BOOK-3", amount=Decimal("0.50")),
    }
    totals = totals_of(decide([Entry(number, name) for number, name in enumerate(payments)], payments, {}))
    assert total_text(totals) == "5000 JPY, 50.50 USD"
    for typed in ("5000 JPY, 50.50 USD", "50.5 usd,5000jpy", " 50.50 USD , 5000.0 JPY"):
        assert repeats_total(typed, totals), typed
    for typed in ("", "yes", "50.50 USD", "50.50, 5000", "50.50 USD, 5000 JPY, 1 EUR", "50.51 USD, 5000 JPY"):
        assert not repeats_total(typed, totals), typed
    assert repeats_total("50.50", {"USD": Decimal("50.50")})
    assert not repeats_total("50.50 USD, 50.50 USD", {"USD": Decimal("50.50")})


def test_a_list_is_recognized_by_its_ids() -> None:
    entries = [Entry(1, "TXN-1"), Entry(2, booking_id="BOOK-2")]
    assert digest_of(entries) == digest_of([replace(entry, number=entry.number + 1) for entry in entries])
    assert digest_of(entries) != digest_of(entries[:1])
    assert digest_of([Entry(1, "X")]) != digest_of([Entry(1, booking_id="X")])
