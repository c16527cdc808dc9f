"""Every change of a payment's record, and that other fields stay the same."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.errors import RefundNotAllowed
from app.payments import changes
from app.payments.announcements import REFUND_TIME
from app.payments.changes import IllegalMove
from app.payments.records import Dispute, Payment, Refund, Step
from app.payments.states import MOVES, REFUNDABLE, UNPAID, UNSETTLED, Actor, PaymentStatus, RefundStatus
from tests.unit.payments.conftest import START, TXN, payment

P = PaymentStatus
NOW = START + timedelta(minutes=1)
LATER = timedelta(seconds=42)
TEN = Decimal(10)


def refund(status: RefundStatus = RefundStatus.PENDING, amount: int = 10, **changes: Any) -> Refund:
    created = Refund("REF-1", status, Decimal(amount), "asked for", START)
    return replace(created, **changes)


def with_refund(status: PaymentStatus, refund: Refund, **changes: Any) -> Payment:
    """Return a payment with one refund and correct sums."""
    reserved = Decimal(0) if refund.status == RefundStatus.FAILED else refund.amount
    refunded = refund.amount if refund.status == RefundStatus.COMPLETED else Decimal(0)
    sums: dict[str, Any] = {"refund_reserved": reserved, "amount_refunded": refunded}
    return payment(status, refunds=(refund,), recover_after=NOW, **sums | changes)


def dispute(status: str = "needs_response", at: float = 0, **changes: Any) -> Dispute:
    return replace(
        Dispute("dp_1", status, START + timedelta(seconds=at), "fraudulent", Decimal(25)), **changes
    )


def only_event(before: Payment, after: Payment) -> dict[str, Any]:
    """Return the body of the single event that a change added."""
    (entry,) = after.outbox[len(before.outbox) :]
    body: dict[str, Any] = json.loads(entry.body)
    assert (entry.event_id, entry.event_type) == (body.pop("event_id"), body["event_type"])
    assert entry.created_at == NOW
    assert body.pop("timestamp") == "2026-12-01T12:01:00.000Z"
    return body


def added_step(before: Payment, after: Payment) -> Step:
    assert after.history[:-1] == before.history
    return after.history[-1]


# --- Charging


def test_a_new_payment_is_pending_and_due_to_be_looked_up(site: Any) -> None:
    order = site.order(
        contact={"user_email": "a@example.com"}, metadata={"seat": "B5"}, return_url="https://x.example/"
    )
    opened = changes.opened(order, TXN, "pm_1", actor=Actor.API, now=NOW, recover_in=LATER)
    assert opened == Payment(
        TXN,
        P.PENDING,
        "BOOK-1",
        "user_1",
        Decimal(25),
        "USD",
        "credit_card",
        NOW,
        attempted_at=NOW,
        contact={"user_email": "a@example.com"},
        metadata={"seat": "B5"},
        gateway_method="pm_1",
        return_url="https://x.example/",
        recover_after=NOW + LATER,
        history=(Step(NOW, "pending", Actor.API),),
    )
    with pytest.raises(ValueError, match="the order must have a currency"):
        changes.opened(site.order(currency=None), TXN, None, actor=Actor.API, now=NOW, recover_in=LATER)


@pytest.mark.parametrize("status", list(P))
@pytest.mark.parametrize("gateway_id", [None, "pi_1"])
def test_only_a_pending_payment_unknown_to_the_gateway_is_attempted_again(
    status: PaymentStatus, gateway_id: str | None
) -> None:
    before = payment(status, gateway_id=gateway_id)
    after = changes.attempted(before, NOW, LATER)
    if status == P.PENDING and gateway_id is None:
        assert after == replace(before, attempted_at=NOW, recover_after=NOW + LATER)
    else:
        assert after is before


def test_a_gateway_id_is_recorded_once() -> None:
    before = payment(P.PENDING, gateway_id=None)
    named = changes.named(before, "pi_1")
    assert named == replace(before, gateway_id="pi_1")
    assert changes.named(named, "pi_2") is named


@pytest.mark.parametrize("status", list(P))
def test_a_payment_waits_for_its_customer(status: PaymentStatus) -> None:
    before = payment(status, gateway_id=None, recover_after=NOW)
    if status == P.PENDING:
        after = changes.awaiting_customer(before, "pi_2", actor=Actor.API, now=NOW)
        step = Step(NOW, "requires_action", Actor.API, "pi_2")
        assert after == replace(before, status=P.REQUIRES_ACTION, gateway_id="pi_2", history=(step,))
    elif status == P.REQUIRES_ACTION:
        assert changes.awaiting_customer(before, "pi_2", actor=Actor.API, now=NOW) is before
    else:
        with pytest.raises(IllegalMove, match=f"^TXN-1 is {status} and can't become requires_action$"):
            changes.awaiting_customer(before, "pi_2", actor=Actor.API, now=NOW)


@pytest.mark.parametrize("status", list(P))
def test_a_charge_completes_an_unsettled_payment_and_announces_it(status: PaymentStatus) -> None:
    before = payment(status, gateway_id=None, recover_after=NOW)

    def complete() -> Payment:
        return changes.completed(before, "pi_2", "visa", "4242", actor=Actor.WEBHOOK, now=NOW)

    if status in UNPAID:
        with pytest.raises(IllegalMove):
            complete()
        return
    after = complete()
    if status not in UNSETTLED:
        assert after is before
        return
    step = added_step(before, after)
    assert step == Step(NOW, "completed", Actor.WEBHOOK, "pi_2", None, after.outbox[0].event_id)
    assert only_event(before, after) == {
        "event_type": "payment.success",
        "user_id": "user_1",
        "booking_id": "BOOK-1",
        "currency": "USD",
        "transaction_id": TXN,
        "amount": 25.0,
        "payment_method": "credit_card",
        "card_brand": "visa",
        "card_last_four": "4242",
        "processed_at": "2026-12-01T12:01:00.000Z",
    }
    assert after == replace(
        before,
        status=P.COMPLETED,
        gateway_id="pi_2",
        card_brand="visa",
        card_last_four="4242",
        processed_at=NOW,
        recover_after=None,
        history=after.history,
        outbox=after.outbox,
    )


@pytest.mark.parametrize("announced", [True, False])
def test_a_decline_fails_the_payment_with_its_reason(announced: bool) -> None:
    before = payment(P.REQUIRES_ACTION, recover_after=NOW, contact={"user_email": "a@example.com"})
    after = changes.failed(
        before, declines.FUNDS, None, actor=Actor.API, now=NOW, announced=announced, note="insufficient"
    )
    event_id = after.outbox[0].event_id if announced else None
    assert added_step(before, after) == Step(NOW, "failed", Actor.API, "pi_1", None, event_id, "insufficient")
    if announced:
        assert only_event(before, after) == {
            "event_type": "payment.failed",
            "user_id": "user_1",
            "user_email": "a@example.com",
            "booking_id": "BOOK-1",
            "currency": "USD",
            "transaction_id": TXN,
            "amount": 25.0,
            "payment_method": "credit_card",
            "failure_reason": declines.FUNDS.message,
            "error_code": "INSUFFICIENT_FUNDS",
            "retry_possible": True,
            "retry_advice": "other_card",
        }
    assert after == replace(
        before,
        status=P.FAILED,
        error_code="INSUFFICIENT_FUNDS",
        error_message=declines.FUNDS.message,
        retry_advice="other_card",
        processed_at=NOW,
        recover_after=None,
        history=after.history,
        outbox=after.outbox if announced else (),
    )
    assert after.retry_possible
    assert not replace(after, retry_advice="never").retry_possible


@pytest.mark.parametrize("status", list(P))
def test_only_an_unsettled_payment_can_fail_or_be_canceled(status: PaymentStatus) -> None:
    before = payment(status)

    def fail() -> Payment:
        return changes.failed(before, declines.GENERIC, "pi_1", actor=Actor.API, now=NOW)

    def cancel() -> Payment:
        return changes.canceled(before, "pi_2", actor=Actor.API, now=NOW, note="changed their mind")

    for change, target in ((fail, P.FAILED), (cancel, P.CANCELED)):
        if status in UNPAID:
            assert change() is before
        elif status in UNSETTLED:
            assert change().status == target
        else:
            with pytest.raises(IllegalMove):
                change()


def test_a_canceled_payment_has_a_reason_and_is_announced() -> None:
    before = payment(P.REQUIRES_ACTION)
    after = changes.canceled(before, "pi_2", actor=Actor.OPERATOR, now=NOW, note="changed their mind")
    assert only_event(before, after)["event_type"] == "payment.canceled"
    step = added_step(before, after)
    assert (step.status, step.actor, step.gateway_id) == ("canceled", Actor.OPERATOR, "pi_2")
    assert (step.note, after.gateway_id, after.processed_at) == ("changed their mind", "pi_2", NOW)


def test_lookups_end_when_every_outcome_is_known() -> None:
    open_payments = (
        payment(P.PENDING, recover_after=NOW),
        payment(P.REQUIRES_ACTION, recover_after=NOW),
        payment(P.FAILED, stray_charge="pi_1", recover_after=NOW),
        with_refund(P.COMPLETED, refund()),
    )
    for before in open_payments:
        assert changes.lookups_finished(before) is before
    known = with_refund(P.COMPLETED, refund(RefundStatus.FAILED))
    settled = changes.lookups_finished(known)
    assert settled == replace(known, recover_after=None)
    assert changes.lookups_finished(settled) is settled, "what is settled is not written again"
    assert changes.lookup_scheduled(known, NOW + LATER) == replace(known, recover_after=NOW + LATER)


# --- Refunds


def reserve(before: Payment, refund: Refund) -> Payment:
    return changes.refund_reserved(before, refund, actor=Actor.API, now=NOW, recover_in=LATER)


@pytest.mark.parametrize("amount", [1, 25])
def test_a_refund_reserves_its_amount_before_the_gateway_is_asked(amount: int) -> None:
    before = payment()
    after = reserve(before, refund(amount=amount))
    assert after == replace(
        before,
        refunds=(refund(amount=amount),),
        refund_reserved=Decimal(amount),
        recover_after=NOW + LATER,
        history=(Step(NOW, "refund_pending", Actor.API, note="REF-1"),),
    )
    assert after.refundable == 25 - amount
    assert reserve(after, refund(amount=amount)) is after, "the same request, once more"


def test_a_refund_over_the_remaining_amount_is_refused() -> None:
    before = reserve(payment(), refund(amount=20))
    with pytest.raises(
        RefundNotAllowed, match=r"^The refund exceeds the amount left to refund, 5 USD\.$"
    ) as refused:
        reserve(before, refund(amount=6, id="REF-2"))
    assert refused.value.details == {"transaction_id": TXN}
    assert reserve(before, refund(amount=5, id="REF-2")).refund_reserved == 25


@pytest.mark.parametrize("status", list(P))
def test_only_paid_money_can_be_refunded(status: PaymentStatus) -> None:
    before = payment(status)
    if status in REFUNDABLE:
        changes.check_refundable(before)
        return
    with pytest.raises(
        RefundNotAllowed, match=rf"^The payment can't be refunded: its status is {status}\.$"
    ) as refused:
        changes.check_refundable(before)
    assert refused.value.details == {"transaction_id": TXN}


@pytest.mark.parametrize(
    ("status", "holds_money"),
    [
        ("needs_response", True),
        ("under_review", True),
        ("lost", True),
        ("won", False),
        ("prevented", False),
        ("warning_needs_response", False),
        ("warning_under_review", False),
        ("warning_closed", False),
    ],
)
def test_an_open_or_lost_dispute_prevents_a_refund(status: str, holds_money: bool) -> None:
    before = payment(disputes=(dispute("won", id="dp_0"), dispute(status)))
    assert before.disputed is (holds_money or status in ("warning_needs_response", "warning_under_review"))
    if not holds_money:
        changes.check_refundable(before)
        return
    with pytest.raises(
        RefundNotAllowed, match="disputed payment can't be refunded: the cardholder's bank decides"
    ) as refused:
        changes.check_refundable(before)
    assert refused.value.details == {"transaction_id": TXN}


def test_a_payment_has_at_most_a_hundred_refunds() -> None:
    refunds = tuple(refund(RefundStatus.FAILED, id=f"REF-{number}") for number in range(100))
    changes.check_refundable(payment(refunds=refunds[:99]))
    with pytest.raises(RefundNotAllowed, match="already has 100 refunds"):
        changes.check_refundable(payment(refunds=refunds))


def test_the_gateways_id_of_a_refund_is_recorded_once() -> None:
    before = with_refund(P.COMPLETED, refund())
    after = changes.refund_named(before, "REF-1", "re_1")
    assert after == replace(before, refunds=(refund(gateway_id="re_1"),))
    assert changes.refund_named(after, "REF-1", "re_2") is after
    assert changes.refund_named(after, "REF-9", "re_1") is after


@pytest.mark.parametrize(
    ("amount", "status"), [(10, P.PARTIALLY_REFUNDED), (24, P.PARTIALLY_REFUNDED), (25, P.REFUNDED)]
)
def test_a_completed_refund_changes_the_status_and_is_announced(amount: int, status: PaymentStatus) -> None:
    before = with_refund(P.COMPLETED, refund(amount=amount, error_message="slow"))
    after = changes.refund_completed(before, "REF-1", "re_1", actor=Actor.RECOVERY, now=NOW)
    done = refund(RefundStatus.COMPLETED, amount, gateway_id="re_1", processed_at=NOW)
    event_id = after.outbox[0].event_id
    assert only_event(before, after) == {
        "event_type": "payment.refund",
        "user_id": "user_1",
        "booking_id": "BOOK-1",
        "currency": "USD",
        "original_transaction_id": TXN,
        "refund_transaction_id": "REF-1",
        "refund_amount": float(amount),
        "reason": "asked for",
        "processing_time": REFUND_TIME,
    }
    assert after == replace(
        before,
        status=status,
        refunds=(done,),
        amount_refunded=Decimal(amount),
        recover_after=None,
        history=(Step(NOW, status, Actor.RECOVERY, "re_1", None, event_id, "REF-1"),),
        outbox=after.outbox,
    )
    for unknown in ("REF-1", "REF-9"):
        assert changes.refund_completed(after, unknown, "re_1", actor=Actor.API, now=NOW) is after


def test_a_failed_refund_that_succeeds_later_takes_its_amount_again() -> None:
    before = with_refund(P.COMPLETED, refund(RefundStatus.FAILED))
    after = changes.refund_completed(before, "REF-1", "re_1", actor=Actor.WEBHOOK, now=NOW)
    assert (after.refund_reserved, after.amount_refunded, after.status) == (TEN, TEN, P.PARTIALLY_REFUNDED)
    beside = replace(before, refund_reserved=Decimal(5))
    after = changes.refund_completed(beside, "REF-1", "re_1", actor=Actor.WEBHOOK, now=NOW)
    assert after.refund_reserved == Decimal(15)


@pytest.mark.parametrize("status", [P.PENDING, P.REQUIRES_ACTION])
def test_an_uncharged_payment_cannot_be_refunded(status: PaymentStatus) -> None:
    before = with_refund(status, refund())
    with pytest.raises(IllegalMove):
        changes.refund_completed(before, "REF-1", "re_1", actor=Actor.WEBHOOK, now=NOW)


def test_a_second_refund_completes_beside_the_first() -> None:
    first = refund(RefundStatus.COMPLETED, gateway_id="re_0", id="REF-0")
    second = refund(amount=15)
    before = payment(
        P.PARTIALLY_REFUNDED,
        refunds=(first, second),
        refund_reserved=Decimal(25),
        amount_refunded=Decimal(10),
    )
    after = changes.refund_completed(before, "REF-1", "re_1", actor=Actor.API, now=NOW)
    assert (after.status, after.amount_refunded, after.refunds[0]) == (P.REFUNDED, Decimal(25), first)
    assert after.refunds[1].status == RefundStatus.COMPLETED
    failed = changes.refund_failed(before, "REF-1", "no", actor=Actor.API, now=NOW)
    assert (failed.refunds[0], failed.refund_reserved, failed.amount_refunded) == (first, TEN, TEN)


def test_a_refund_made_elsewhere_is_adopted_once() -> None:
    before = payment(recover_after=NOW)
    created = refund(RefundStatus.COMPLETED, gateway_id="re_1", processed_at=NOW)
    after = changes.refund_adopted(before, created, actor=Actor.WEBHOOK, now=NOW)
    assert only_event(before, after)["refund_transaction_id"] == "REF-1"
    assert (after.status, after.refunds, after.refund_reserved) == (P.PARTIALLY_REFUNDED, (created,), TEN)
    assert (after.amount_refunded, after.recover_after) == (TEN, None)
    for again in (created, replace(created, id="REF-2"), replace(created, gateway_id="re_2")):
        assert changes.refund_adopted(after, again, actor=Actor.WEBHOOK, now=NOW) is after
    other = replace(created, id="REF-2", gateway_id="re_2")
    assert changes.refund_adopted(after, other, actor=Actor.WEBHOOK, now=NOW).amount_refunded == 20


def test_a_refused_refund_releases_its_amount() -> None:
    before = with_refund(P.COMPLETED, refund(gateway_id="re_0"))
    after = changes.refund_failed(before, "REF-1", "no money", actor=Actor.API, now=NOW)
    over = refund(RefundStatus.FAILED, gateway_id="re_0", error_message="no money", processed_at=NOW)
    assert after == replace(
        before,
        refunds=(over,),
        refund_reserved=Decimal(0),
        recover_after=None,
        history=(Step(NOW, "refund_failed", Actor.API, "re_0", note="REF-1"),),
    )
    named = changes.refund_failed(before, "REF-1", "no", actor=Actor.API, now=NOW, gateway_id="re_1")
    assert (named.refunds[0].gateway_id, named.history[-1].gateway_id) == ("re_1", "re_1")
    for unknown in ("REF-1", "REF-9"):
        assert changes.refund_failed(after, unknown, "no", actor=Actor.API, now=NOW) is after


@pytest.mark.parametrize("transient", [True, False])
def test_a_late_refusal_leaves_a_refund_that_another_attempt_completed(transient: bool) -> None:
    before = with_refund(P.COMPLETED, refund())
    resumed = changes.refund_resumed(before, "REF-1", NOW)
    assert (resumed.refunds[0].resumed, resumed.recover_after) == (True, NOW)
    done = changes.refund_completed(resumed, "REF-1", "re_1", actor=Actor.API, now=NOW)
    late = changes.refund_refused(done, "REF-1", "401", transient=transient, actor=Actor.API, now=NOW)
    assert late is done
    assert changes.refund_resumed(done, "REF-1", NOW) is done


@pytest.mark.parametrize(("transient", "status"), [(True, "pending"), (False, "failed")])
def test_only_a_final_refusal_fails_a_refund_with_a_second_attempt(transient: bool, status: str) -> None:
    resumed = changes.refund_resumed(with_refund(P.COMPLETED, refund()), "REF-1", NOW)
    after = changes.refund_refused(resumed, "REF-1", "429", transient=transient, actor=Actor.API, now=NOW)
    assert after.refunds[0].status == status


@pytest.mark.parametrize(
    ("others", "status"), [(0, P.COMPLETED), (5, P.PARTIALLY_REFUNDED)], ids=["alone", "beside another"]
)
def test_a_refund_that_fails_after_it_succeeded_is_reversed(others: int, status: PaymentStatus) -> None:
    done = refund(RefundStatus.COMPLETED, gateway_id="re_1", processed_at=START)
    total = Decimal(10 + others)
    before = with_refund(P.PARTIALLY_REFUNDED, done, refund_reserved=total, amount_refunded=total)
    after = changes.refund_failed(before, "REF-1", "account closed", actor=Actor.WEBHOOK, now=NOW)
    assert after == replace(
        before,
        status=status,
        refunds=(replace(done, status=RefundStatus.FAILED, error_message="account closed"),),
        refund_reserved=Decimal(others),
        amount_refunded=Decimal(others),
        history=(Step(NOW, status, Actor.WEBHOOK, "re_1", note="REF-1"),),
    )


# --- Charged although ended unpaid


@pytest.mark.parametrize("status", list(P))
def test_a_stray_charge_is_noted_on_an_unpaid_payment_only(status: PaymentStatus) -> None:
    before = payment(status, gateway_id=None)
    after = changes.strayed(before, "pi_9", actor=Actor.WEBHOOK, now=NOW, look_at=NOW + LATER)
    if status not in UNPAID:
        assert after is before
        return
    assert after == replace(
        before,
        stray_charge="pi_9",
        gateway_id="pi_9",
        recover_after=NOW + LATER,
        history=(Step(NOW, "charged_although_failed", Actor.WEBHOOK, "pi_9"),),
    )
    assert changes.strayed(after, "pi_8", actor=Actor.WEBHOOK, now=NOW, look_at=None) is after


def test_a_stray_charge_is_refunded_once_and_in_full() -> None:
    before = payment(P.FAILED, stray_charge="pi_9", recover_after=NOW)

    def begin(payment: Payment, refund_id: str) -> Payment:
        back = refund(amount=25, id=refund_id)
        return changes.stray_refund_reserved(payment, back, actor=Actor.RECOVERY, now=NOW, recover_in=LATER)

    started = begin(before, "REF-1")
    assert (started.refund_reserved, started.recover_after) == (Decimal(25), NOW + LATER)
    assert started.history[-1] == Step(NOW, "refund_pending", Actor.RECOVERY, "pi_9", note="REF-1")
    assert begin(started, "REF-2") is started
    without = payment(P.FAILED)
    assert begin(without, "REF-1") is without
    done = changes.refund_completed(started, "REF-1", "re_1", actor=Actor.API, now=NOW)
    assert (done.status, done.stray_charge, done.recover_after) == (P.REFUNDED, None, None)


def test_a_stray_charge_whose_refund_fails_after_it_had_succeeded_is_kept_for_an_operator() -> None:
    stray = changes.strayed(payment(P.FAILED), "pi_9", actor=Actor.WEBHOOK, now=NOW, look_at=NOW)
    back = refund(amount=25, id="REF-1")
    started = changes.stray_refund_reserved(stray, back, actor=Actor.RECOVERY, now=NOW, recover_in=LATER)
    done = changes.refund_completed(started, "REF-1", "re_1", actor=Actor.API, now=NOW)
    assert done.stray_charge is None
    taken = changes.refund_failed(done, "REF-1", "card closed", actor=Actor.WEBHOOK, now=NOW)
    assert (taken.stray_charge, taken.recover_after) == ("pi_9", None)
    assert taken.amount_refunded == taken.refund_reserved == Decimal(0)
    paid = payment(P.REFUNDED, refunds=(refund(RefundStatus.COMPLETED),), amount_refunded=Decimal(20))
    assert changes.refund_failed(paid, "REF-1", "r", actor=Actor.WEBHOOK, now=NOW).stray_charge is None


def test_a_partly_refunded_stray_charge_stays_stray() -> None:
    before = payment(P.CANCELED, stray_charge="pi_1", recover_after=NOW)
    part = refund(RefundStatus.COMPLETED, gateway_id="re_1")
    after = changes.refund_adopted(before, part, actor=Actor.WEBHOOK, now=NOW)
    assert (after.status, after.stray_charge, after.recover_after) == (P.PARTIALLY_REFUNDED, "pi_1", NOW)


# --- Disputes


def test_a_dispute_is_noted_and_announced() -> None:
    before = payment(disputes=(dispute("won", id="dp_0"),))
    noted = dispute(evidence_due_by=NOW)
    after = changes.dispute_noted(before, noted, NOW)
    assert only_event(before, after) == {
        "event_type": "payment.disputed",
        "user_id": "user_1",
        "booking_id": "BOOK-1",
        "currency": "USD",
        "transaction_id": TXN,
        "dispute_id": "dp_1",
        "status": "needs_response",
        "amount": 25.0,
        "reason": "fraudulent",
        "evidence_due_by": "2026-12-01T12:01:00.000Z",
    }
    assert after == replace(before, disputes=(*before.disputes, noted), outbox=after.outbox)
    assert "amount" not in only_event(before, changes.dispute_noted(before, replace(noted, amount=None), NOW))


@pytest.mark.parametrize(
    ("known", "new", "is_noted"),
    [
        (("needs_response", 0), ("under_review", 1), True),
        (("needs_response", 0), ("under_review", 0), True),
        (("needs_response", 1), ("under_review", 0), False),
        (("needs_response", 0), ("needs_response", 1), False),
        (("won", 0), ("under_review", 1), False),
        (("warning_closed", 0), ("needs_response", 1), False),
        (("lost", 0), ("won", 1), True),
        (("under_review", 0), ("lost", 1), True),
    ],
)
def test_the_newest_state_of_a_dispute_counts_and_a_closed_dispute_stays_closed(
    known: tuple[str, int], new: tuple[str, int], is_noted: bool
) -> None:
    before = payment(disputes=(dispute(*known),))
    after = changes.dispute_noted(before, dispute(*new), NOW)
    if is_noted:
        assert after.disputes == (dispute(*new),)
    else:
        assert after is before


def test_every_transition_is_in_the_table() -> None:
    for status, targets in MOVES.items():
        assert all(isinstance(target, P) and target != P.PENDING for target in targets), status
