"""One contract for both ledgers: what holds in memory, where the simulation runs, holds in MongoDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from app import models
from app.models import Transaction
from app.payments import changes
from app.payments.ledger import BookingTaken, Ledger
from app.payments.ledger.memory import MemoryLedger
from app.payments.ledger.mongo import MongoLedger
from app.payments.records import Dispute, Payment, Refund, Step
from app.payments.reporting import stored
from app.payments.states import Actor, PaymentStatus, RefundStatus

if TYPE_CHECKING:
    from app.settings import Settings

NOW = datetime(2026, 12, 1, 18, 30, tzinfo=UTC)
SOON = NOW + timedelta(seconds=42)


def payment(number: int = 1, booking: str = "BOOK-1", **given: object) -> Payment:
    return replace(
        Payment(
            id=f"TXN-{number}",
            status=PaymentStatus.PENDING,
            booking_id=booking,
            user_id="user_1",
            amount=Decimal("50.00"),
            currency="USD",
            payment_method="credit_card",
            created_at=NOW + timedelta(seconds=number),
            attempted_at=NOW,
            recover_after=SOON,
            contact={"user_email": "jane.doe@example.com"},
            history=(Step(NOW, PaymentStatus.PENDING, Actor.API),),
        ),
        **given,  # type: ignore[arg-type]
    )


def paid(one: Payment) -> Payment:
    return changes.completed(one, f"pi_{one.id}", "visa", "4242", actor=Actor.API, now=NOW)


@pytest.fixture(params=["memory", "mongodb"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    settings: Settings = request.getfixturevalue("stored_settings")
    models.connect(settings)
    yield MongoLedger()


def insert(ledger: Ledger, one: Payment) -> Payment:
    ledger.insert(one)
    return stored(one)


def test_a_payment_is_found_as_it_was_stored(ledger: Ledger) -> None:
    one = insert(ledger, payment())
    assert ledger.find("TXN-1") == one
    assert ledger.find("TXN-2") is None
    refund = Refund("REF-1", RefundStatus.PENDING, Decimal("20.00"), "one seat less", NOW)
    dispute = Dispute("dp_1", "needs_response", NOW, "fraudulent", Decimal("50.00"), SOON)
    whole = replace(
        paid(one),
        refunds=(refund,),
        refund_reserved=Decimal("20.00"),
        disputes=(dispute,),
        recover_after=None,
    )
    assert ledger.write(one, whole)
    assert ledger.find("TXN-1") == stored(whole)
    assert ledger.find_by_refund("REF-1") == ledger.find_by_gateway_id("pi_TXN-1") == stored(whole)
    assert ledger.find_all(["TXN-1", "TXN-9"]) == {"TXN-1": stored(whole)}
    assert ledger.find_all_by_gateway_id(["pi_TXN-1", "pi_9"]) == {"pi_TXN-1": stored(whole)}


def test_a_booking_is_held_by_one_payment(ledger: Ledger) -> None:
    first = insert(ledger, payment(1))
    with pytest.raises(BookingTaken) as taken:
        ledger.insert(payment(2))
    assert taken.value.transaction_id == "TXN-1"
    declined = changes.canceled(first, None, actor=Actor.API, now=NOW, note=None)
    assert ledger.write(first, declined)
    insert(ledger, payment(2))


def test_the_same_id_is_stored_once(ledger: Ledger) -> None:
    insert(ledger, payment(1, "BOOK-1"))
    with pytest.raises(BookingTaken):
        ledger.insert(payment(1, "BOOK-2"))


def test_only_the_newest_record_can_be_replaced(ledger: Ledger) -> None:
    read_by_two = insert(ledger, payment())
    assert ledger.write(read_by_two, paid(read_by_two))
    late = changes.canceled(read_by_two, None, actor=Actor.API, now=NOW, note=None)
    assert not ledger.write(read_by_two, late)
    found = ledger.find("TXN-1")
    assert found
    assert found.status == PaymentStatus.COMPLETED
    assert len(found.outbox) == 1


def test_a_booking_that_is_taken_stays_taken_when_a_refund_comes_back(ledger: Ledger) -> None:
    first = insert(ledger, payment(1))
    ledger.write(first, paid(first))
    first = stored(paid(first))
    refunded = replace(first, status=PaymentStatus.REFUNDED)
    ledger.write(first, refunded)
    second = insert(ledger, payment(2))
    back = replace(stored(refunded), status=PaymentStatus.COMPLETED)
    assert ledger.write(stored(refunded), back)
    with pytest.raises(BookingTaken) as taken:
        ledger.insert(payment(3))
    assert taken.value.transaction_id == second.id


def test_what_is_due_is_claimed_once_and_renewed_by_its_claim_alone(ledger: Ledger) -> None:
    for number in range(1, 4):
        insert(ledger, payment(number, f"BOOK-{number}", recover_after=NOW + timedelta(seconds=number)))
    now, until = NOW + timedelta(seconds=3), NOW + timedelta(minutes=1)
    claimed = ledger.claim_due(now, until, "mine", 10)
    assert sorted(one.id for one in claimed) == ["TXN-1", "TXN-2"]
    assert ledger.claim_due(now, until, "other", 10) == []
    later = until + timedelta(minutes=1)
    ledger.renew("other", ["TXN-1"], later)
    ledger.renew("mine", ["TXN-2"], later)
    next_ones = ledger.claim_due(until + timedelta(seconds=1), later, "next", 10)
    assert sorted(one.id for one in next_ones) == ["TXN-1", "TXN-3"]
    assert ledger.count_overdue(later + timedelta(seconds=1)) == 3


def test_a_claimed_payment_can_be_changed_by_the_record_in_hand(ledger: Ledger) -> None:
    insert(ledger, payment(recover_after=NOW))
    [claimed] = ledger.claim_due(SOON, SOON + timedelta(minutes=1), "mine", 10)
    ledger.renew("mine", [claimed.id], SOON + timedelta(minutes=2))
    assert ledger.write(claimed, paid(claimed)), "a renewed claim is no change of the payment"
    found = ledger.find(claimed.id)
    assert found
    assert found.recover_after is None
    ledger.renew("mine", [claimed.id], SOON + timedelta(minutes=3))
    found = ledger.find(claimed.id)
    assert found
    assert found.recover_after is None, "what is settled is not claimed again"


def test_events_are_published_in_order_and_taken_out_once(ledger: Ledger) -> None:
    first = insert(ledger, payment())
    ledger.write(first, paid(first))
    first = stored(paid(first))
    dispute = Dispute("dp_1", "needs_response", NOW)
    assert ledger.write(first, changes.dispute_noted(first, dispute, NOW + timedelta(seconds=1)))
    waiting = ledger.unpublished(["BOOK-1"])
    assert [json.loads(entry.event.body)["event_type"] for entry in waiting] == [
        "payment.success",
        "payment.disputed",
    ]
    assert ledger.backlog() == (1, NOW)
    ledger.take_out(waiting[:1])
    ledger.take_out(waiting[:1])
    assert ledger.unpublished(["BOOK-1"]) == waiting[1:]
    ledger.take_out(waiting)
    assert ledger.unpublished(["BOOK-1"]) == []
    assert ledger.backlog() == (0, None)


def test_a_failed_publication_does_not_make_its_event_younger(ledger: Ledger) -> None:
    first = insert(ledger, payment())
    ledger.write(first, paid(first))
    now = NOW + timedelta(minutes=10)
    until = now + timedelta(seconds=10)
    assert ledger.claim_unpublished(now - timedelta(seconds=3), now, until, 10) == {"BOOK-1"}
    assert ledger.claim_unpublished(now - timedelta(seconds=3), now, until, 10) == set(), "it is claimed"
    assert ledger.backlog() == (1, NOW), "its age is that of the event"
    again = until + timedelta(seconds=1)
    assert ledger.claim_unpublished(again, again, again + timedelta(seconds=10), 10) == {"BOOK-1"}


def test_events_published_meanwhile_do_not_come_back_with_the_next_change(ledger: Ledger) -> None:
    first = insert(ledger, payment())
    ledger.write(first, paid(first))
    in_hand = ledger.find("TXN-1")
    assert in_hand
    ledger.take_out(ledger.unpublished(["BOOK-1"]))
    assert ledger.write(in_hand, changes.dispute_noted(in_hand, Dispute("dp_1", "lost", NOW), NOW))
    assert [entry.event.event_type for entry in ledger.unpublished(["BOOK-1"])] == ["payment.disputed"]


def test_a_search_meets_every_condition(ledger: Ledger) -> None:
    first = insert(ledger, payment(1, "BOOK-1"))
    ledger.write(first, paid(first))
    insert(ledger, payment(2, "BOOK-2"))
    assert [one.id for one in ledger.search(10)] == ["TXN-2", "TXN-1"]
    assert [one.id for one in ledger.search(1)] == ["TXN-2"]
    assert [one.id for one in ledger.search(10, status="completed")] == ["TXN-1"]
    assert [one.id for one in ledger.search(10, booking_id="BOOK-2", user_id="user_1")] == ["TXN-2"]
    assert ledger.search(10, since=NOW + timedelta(hours=1)) == []
    assert [one.id for one in ledger.paid_since(NOW, NOW + timedelta(hours=1))] == ["TXN-1"]
    assert list(ledger.refunded_since(NOW)) == []


def test_the_model_describes_every_field_of_a_payment() -> None:
    derived = {"open_booking", "outbox_since", "outbox_claim", "recovery_claim"}
    assert {field.name for field in fields(Payment)} == set(Transaction._fields) - derived
