"""The contract of both ledgers: the one in memory, which the simulation uses, and the one in MongoDB."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture(params=["memory", "mongodb", "mongodb, batched"])
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    if request.param == "memory":
        yield MemoryLedger()
        return
    settings: Settings = request.getfixturevalue("stored_settings")
    models.connect(settings)
    yield MongoLedger(batched="batched" in request.param)


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


def test_a_booking_belongs_to_one_open_payment(ledger: Ledger) -> None:
    first = insert(ledger, payment(1))
    with pytest.raises(BookingTaken) as taken:
        ledger.insert(payment(2))
    assert taken.value.transaction_id == "TXN-1"
    declined = changes.canceled(first, None, actor=Actor.API, now=NOW, note=None)
    assert ledger.write(first, declined)
    insert(ledger, payment(2))


def test_an_id_can_be_stored_only_once(ledger: Ledger) -> None:
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


def test_a_failed_refund_does_not_take_a_booking_that_was_paid_again(ledger: Ledger) -> None:
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


def test_a_due_payment_is_claimed_once_and_only_its_claim_renews_it(ledger: Ledger) -> None:
    for number in range(1, 4):
        insert(ledger, payment(number, f"BOOK-{number}", recover_after=NOW + timedelta(seconds=number)))
    now, until = NOW + timedelta(seconds=3), NOW + timedelta(minutes=1)
    assert [one.id for one in ledger.due(now, 10)] == ["TXN-1", "TXN-2"]
    assert [one.id for one in ledger.due(now, 1)] == ["TXN-1"], "the longest overdue first"
    every = ["TXN-1", "TXN-2", "TXN-3"]
    claimed = ledger.claim(every, now, until, "mine")
    assert sorted(one.id for one in claimed) == ["TXN-1", "TXN-2"]
    assert ledger.due(now, 10) == ledger.claim(every, now, until, "other") == []
    later = until + timedelta(minutes=1)
    ledger.renew("other", ["TXN-1"], later)
    ledger.renew("mine", ["TXN-2"], later)
    next_ones = ledger.claim(every, until + timedelta(seconds=1), later, "next")
    assert sorted(one.id for one in next_ones) == ["TXN-1", "TXN-3"]
    assert ledger.count_overdue(later + timedelta(seconds=1)) == 3


def test_a_claimed_payment_can_be_updated_from_the_claimed_record(ledger: Ledger) -> None:
    insert(ledger, payment(recover_after=NOW))
    [claimed] = ledger.claim(["TXN-1"], SOON, SOON + timedelta(minutes=1), "mine")
    ledger.renew("mine", [claimed.id], SOON + timedelta(minutes=2))
    assert ledger.write(claimed, paid(claimed)), "a renewed claim is no change of the payment"
    found = ledger.find(claimed.id)
    assert found
    assert found.recover_after is None
    ledger.renew("mine", [claimed.id], SOON + timedelta(minutes=3))
    found = ledger.find(claimed.id)
    assert found
    assert found.recover_after is None, "what is settled is not claimed again"


def test_events_are_published_in_order_and_removed_once(ledger: Ledger) -> None:
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


def test_a_failed_publish_keeps_the_age_of_its_event(ledger: Ledger) -> None:
    first = insert(ledger, payment())
    ledger.write(first, paid(first))
    now = NOW + timedelta(minutes=10)
    until = now + timedelta(seconds=10)
    assert ledger.claim_unpublished(now - timedelta(seconds=3), now, until, 10) == {"BOOK-1"}
    assert ledger.claim_unpublished(now - timedelta(seconds=3), now, until, 10) == set(), "it is claimed"
    assert ledger.backlog() == (1, NOW), "its age is that of the event"
    again = until + timedelta(seconds=1)
    assert ledger.claim_unpublished(again, again, again + timedelta(seconds=10), 10) == {"BOOK-1"}


def test_sweeps_at_the_same_time_claim_different_bookings(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    ledger = MongoLedger()
    for number in range(60):
        one = insert(ledger, payment(number, f"BOOK-{number}"))
        ledger.write(one, paid(one))
    now = NOW + timedelta(minutes=10)

    def claim_all(_: int) -> list[str]:
        own: list[str] = []
        while claimed := ledger.claim_unpublished(now, now, now + timedelta(minutes=1), 7):
            own += claimed
        return own

    with ThreadPoolExecutor(3) as sweeps:
        claimed = [booking for own in sweeps.map(claim_all, range(3)) for booking in own]
    assert sorted(claimed) == sorted(f"BOOK-{number}" for number in range(60))


def test_published_events_are_not_restored_by_a_concurrent_change(ledger: Ledger) -> None:
    first = insert(ledger, payment())
    ledger.write(first, paid(first))
    in_hand = ledger.find("TXN-1")
    assert in_hand
    ledger.take_out(ledger.unpublished(["BOOK-1"]))
    assert ledger.write(in_hand, changes.dispute_noted(in_hand, Dispute("dp_1", "lost", NOW), NOW))
    assert [entry.event.event_type for entry in ledger.unpublished(["BOOK-1"])] == ["payment.disputed"]


def test_a_search_applies_every_condition(ledger: Ledger) -> None:
    first = insert(ledger, payment(1, "BOOK-1"))
    ledger.write(first, paid(first))
    insert(ledger, payment(2, "BOOK-2"))
    assert [one.id for one in ledger.search(10)] == ["TXN-2", "TXN-1"]
    assert [one.id for one in ledger.search(1)] == ["TXN-2"]
    assert [one.id for one in ledger.search(10, status="completed")] == ["TXN-1"]
    assert [one.id for one in ledger.search(10, booking_id="BOOK-2", user_id="user_1")] == ["TXN-2"]
    assert list(ledger.search(10, since=NOW + timedelta(hours=1))) == []
    assert len(list(ledger.search(None))) == 2
    assert [one.id for one in ledger.paid_since(NOW, NOW + timedelta(hours=1))] == ["TXN-1"]
    assert ledger.count_paid_since(NOW, NOW + timedelta(hours=1)) == 1
    assert ledger.count_paid_since(NOW + timedelta(hours=1), NOW + timedelta(hours=2)) == 0
    assert list(ledger.refunded_since(NOW)) == []


def test_payments_of_several_bookings_are_found_together(ledger: Ledger) -> None:
    for number in (1, 2, 3):
        insert(ledger, payment(number, f"BOOK-{number}"))
    found = ledger.find_by_bookings(["BOOK-1", "BOOK-3", "BOOK-9"])
    assert sorted(one.id for one in found) == ["TXN-1", "TXN-3"]
    assert list(ledger.find_by_bookings([])) == []


def test_unhandled_stray_charges_are_found(ledger: Ledger) -> None:
    insert(ledger, payment(1, "BOOK-1"))
    insert(ledger, payment(2, "BOOK-2", stray_charge="pi_2"))
    insert(ledger, payment(3, "BOOK-3", stray_charge="pi_3", recover_after=None))
    assert [one.id for one in ledger.kept_stray_charges(10)] == ["TXN-3"]


def test_the_model_describes_every_field_of_a_payment() -> None:
    derived = {"open_booking", "outbox_since", "outbox_claim", "recovery_claim"}
    assert {field.name for field in fields(Payment)} == set(Transaction._fields) - derived
