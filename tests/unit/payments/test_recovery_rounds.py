"""What recovery looks up, when, and what it concludes. It looks up and seals, but never charges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.errors import ServiceUnavailable
from app.gateway import (
    KEY_MEMORY,
    ActionRequired,
    AmountRefused,
    Charged,
    Declined,
    GatewayUnavailable,
    Refunded,
    RefundFailed,
    RefundPending,
    Unknown,
)
from app.payments.orders import RefundOrder
from app.payments.records import Payment
from app.payments.recovery import (
    CLAIM_SIZE,
    CLOCK_SKEW,
    CONCURRENT_CALLS,
    LONGEST_PAUSE,
    recover_due,
    settle_listed,
    windows,
)
from app.payments.states import Actor, PaymentStatus, RefundStatus
from tests.unit.payments.conftest import START, TXN, Clock, Site, statuses

P, R = PaymentStatus, RefundStatus
ACTION = ActionRequired("pi_1", "pi_1_secret")


def in_turn(act: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        act(item)


def recover(site: Site, limit: int = 100) -> int:
    """Run one round of recovery, after clearing the recorded gateway calls."""
    site.gateway.requested.clear()
    return recover_due(site.payments, limit, run=in_turn)


def requested(site: Site) -> list[str]:
    return [str(what[0]) for what in site.gateway.requested]


def refuse_amount(*_seal: object) -> bool:
    raise AmountRefused("The gateway refuses the amount or the currency: 400 amount_too_small.")


@pytest.fixture
def unknown(site: Site, clock: Clock) -> Payment:
    """Return a due payment whose response was lost."""
    site.gateway.outcome = Unknown("timeout")
    created = site.pay()
    clock.now = START + site.payments.recover_in + timedelta(seconds=1)
    return created


@pytest.fixture
def refunding(site: Site, clock: Clock) -> Payment:
    """Return a due payment of 25 USD with a refund of 10 whose response was lost."""
    site.pay()
    site.gateway.refund_outcome = Unknown("timeout")
    order = RefundOrder(TXN, "BOOK-1", "user_1", "asked for", Decimal(10))
    payment, _ = site.payments.refunds.refund(order, "REF-1")
    clock.now = START + site.payments.recover_in + timedelta(seconds=1)
    return payment


# --- Payments


def test_a_payment_is_looked_up_when_its_outcome_should_be_known_and_not_before(
    site: Site, clock: Clock
) -> None:
    site.gateway.outcome = Unknown("timeout")
    site.pay()
    clock.now = START + site.payments.recover_in
    assert (recover(site), site.gateway.requested) == (0, [])
    clock.pass_by(seconds=1)
    assert recover(site) == 1


def test_a_charge_in_the_gateways_records_completes_the_payment(site: Site, unknown: Payment) -> None:
    site.fact(Charged("pi_1", "visa", "4242"))
    assert recover(site) == 1
    payment = site.stored()
    assert statuses(payment) == [("pending", Actor.API), ("completed", Actor.RECOVERY)]
    assert (payment.gateway_id, payment.recover_after) == ("pi_1", None)
    reach = KEY_MEMORY + CLOCK_SKEW
    assert site.gateway.requested == [("payments", START - CLOCK_SKEW, START + reach)]
    assert recover(site) == 0


def test_an_operators_lookup_records_a_listed_charge(site: Site, unknown: Payment) -> None:
    site.fact(Charged("pi_1"))
    found = settle_listed(site.payments, unknown, Actor.OPERATOR)
    assert found == site.stored()
    assert statuses(site.stored()) == [("pending", Actor.API), ("completed", Actor.OPERATOR)]


@pytest.mark.parametrize("namespace", [None, "other."])
def test_an_operators_lookup_changes_nothing_if_no_payment_is_listed(
    site: Site, unknown: Payment, namespace: str | None
) -> None:
    if namespace:
        site.fact(Charged("pi_1"), namespace=namespace)
    site.gateway.requested.clear()
    assert settle_listed(site.payments, unknown, Actor.OPERATOR) is None
    assert requested(site) == ["payments"], "it neither charges nor seals"
    assert site.stored() == unknown


def test_a_payment_that_never_reached_the_gateway_fails_once_its_key_is_used_up(
    site: Site, unknown: Payment
) -> None:
    recover(site)
    assert site.gateway.requested[1:] == [("seal", TXN, Decimal(25), "USD")]
    payment = site.stored()
    assert (payment.status, payment.history[-1].note) == (P.FAILED, "the gateway never charged it")
    assert (payment.error_message, payment.recover_after) == (declines.GATEWAY_ERROR.message, None)


def test_a_request_that_arrives_during_the_first_lookup_is_found_by_the_second(
    site: Site, unknown: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal(key: str, amount: Decimal, currency: str) -> bool:
        site.fact(Charged("pi_1"))
        return False

    monkeypatch.setattr(site.gateway, "seal", seal)
    recover(site)
    assert site.stored().status == P.COMPLETED
    assert site.gateway.requested[1] == ("payments", START - CLOCK_SKEW, START + KEY_MEMORY + CLOCK_SKEW)


def test_a_used_key_without_a_listed_charge_means_that_nothing_was_charged(
    site: Site, unknown: Payment
) -> None:
    site.gateway.used_keys = {TXN}
    recover(site)
    assert requested(site) == ["payments", "seal", "payments"]
    assert site.stored().status == P.FAILED


def test_a_payment_whose_amount_the_gateway_refuses_fails(
    site: Site, unknown: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.gateway, "seal", refuse_amount)
    recover(site)
    assert (site.stored().status, site.stored().recover_after) == (P.FAILED, None)


def test_a_payment_with_a_gateway_id_is_looked_up_by_it(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("500", "pi_1")
    site.pay()
    clock.pass_by(hours=1)
    site.fact(Declined(declines.FUNDS, "pi_1"))
    recover(site)
    assert site.gateway.requested == [("payment", "pi_1")]
    assert (site.stored().status, site.stored().error_code) == (P.FAILED, "INSUFFICIENT_FUNDS")


def test_another_deployments_charge_is_not_adopted(site: Site, unknown: Payment) -> None:
    site.fact(Charged("pi_1"), namespace="other.")
    recover(site)
    payment = site.stored()
    assert (payment.status, payment.gateway_id) == (P.FAILED, None)
    assert ("seal", TXN, Decimal(25), "USD") in site.gateway.requested


def test_recovery_changes_nothing_while_the_gateway_is_down(
    site: Site, unknown: Payment, log_lines: Any
) -> None:
    site.gateway.down = True
    assert recover(site) == 1
    assert site.stored().status == P.PENDING
    (line,) = [line for line in log_lines() if line["message"] == "recovery waits for the gateway"]
    assert (line["count"], line["level"]) == (1, "warning")
    assert line["reason"] == "The payment gateway did not respond."


def test_after_several_failed_reads_the_rest_of_the_round_waits(
    site: Site, clock: Clock, log_lines: Any
) -> None:
    due = CONCURRENT_CALLS + 2
    for number in range(due):
        site.gateway.outcome = Unknown("500", f"pi_{number}")
        site.pay(f"TXN-{number}", booking_id=f"BOOK-{number}")
    clock.pass_by(hours=1)
    site.gateway.down = True
    assert recover(site) == due
    assert requested(site) == ["payment"] * CONCURRENT_CALLS, "one for each call that may be in flight"
    lines = [line for line in log_lines() if line["message"] == "recovery waits for the gateway"]
    assert [line["transaction_id"] for line in lines] == [
        f"TXN-{number}" for number in range(CONCURRENT_CALLS)
    ]
    site.gateway.down = False
    assert recover(site) == 0, "the claim still stands"
    clock.pass_by(hours=1)
    assert recover(site) == due


def test_a_database_failure_affects_one_payment_and_is_logged(
    site: Site, unknown: Payment, monkeypatch: pytest.MonkeyPatch, log_lines: Any
) -> None:
    def unavailable(*_: object) -> None:
        raise ServiceUnavailable("down")

    monkeypatch.setattr(site.payments, "give_up", unavailable)
    recover(site)
    (line,) = [line for line in log_lines() if line["message"] == "recovery waits for the database"]
    assert (line["transaction_id"], line["reason"]) == (TXN, "down")


def test_the_longest_overdue_payments_come_first_in_a_limited_round(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    for number in (1, 2, 3):
        site.pay(f"TXN-{number}", booking_id=f"BOOK-{number}")
        clock.pass_by(seconds=1)
    clock.pass_by(hours=1)
    assert recover(site, limit=2) == 2
    assert [site.stored(f"TXN-{number}").status for number in (1, 2, 3)] == [P.FAILED, P.FAILED, P.PENDING]
    assert recover(site, limit=2) == 1


def lose_responses(site: Site, clock: Clock, count: int) -> list[str]:
    """Take payments whose responses are lost; they are due. Return their ids, the longest overdue first."""
    site.gateway.outcome = Unknown("timeout")
    ids = [f"TXN-{number}" for number in range(count)]
    for number, transaction_id in enumerate(ids):
        site.pay(transaction_id, booking_id=f"BOOK-{number}", user_id=f"user_{number}")
        clock.pass_by(seconds=0.01)
    clock.pass_by(hours=1)
    return ids


@pytest.mark.parametrize("count", [2, 2 * CLAIM_SIZE + 1])
def test_one_listing_serves_a_backlog_of_any_size(site: Site, clock: Clock, count: int) -> None:
    lose_responses(site, clock, count)
    assert recover(site, limit=10_000) == count
    assert requested(site).count("payments") == 1
    assert requested(site).count("seal") == count


def test_a_backlog_is_left_to_the_others_but_for_the_batch_in_hand(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = lose_responses(site, clock, 2 * CLAIM_SIZE)
    others: list[str] = []
    seal = site.gateway.seal

    def meanwhile(key: str, amount: Decimal, currency: str) -> bool:
        if not others:
            now = clock.now
            claimed = site.ledger.claim(ids, now, now + site.payments.recover_in, "of another process")
            others.extend(payment.id for payment in claimed)
        return seal(key, amount, currency)

    monkeypatch.setattr(site.gateway, "seal", meanwhile)
    assert recover(site, limit=10_000) == CLAIM_SIZE
    assert others == ids[CLAIM_SIZE:]
    sealed = [what[1] for what in site.gateway.requested if what[0] == "seal"]
    assert sealed == ids[:CLAIM_SIZE], "nothing is asked twice"


def test_who_gets_no_payment_reads_no_list(site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    lose_responses(site, clock, 2)
    monkeypatch.setattr(site.ledger, "claim", lambda *_: [])
    assert recover(site) == 0
    assert site.gateway.requested == []


def test_what_arrived_while_we_looked_is_listed_once_for_all_batches(site: Site, clock: Clock) -> None:
    ids = lose_responses(site, clock, 2 * CLAIM_SIZE)
    site.gateway.used_keys = set(ids)
    assert recover(site, limit=10_000) == 2 * CLAIM_SIZE
    assert requested(site).count("payments") == 2
    assert {site.stored(one).status for one in ids} == {P.FAILED}


@pytest.mark.parametrize("actor", [Actor.RECOVERY, Actor.OPERATOR])
def test_the_audit_trail_names_the_actor_of_a_lookup(site: Site, unknown: Payment, actor: Actor) -> None:
    recover_due(site.payments, actor=actor)
    assert statuses(site.stored())[-1] == ("failed", actor)


# --- Lookup intervals


@pytest.mark.parametrize(
    ("age", "pause"),
    [
        (timedelta(seconds=60), None),
        (timedelta(minutes=4), timedelta(minutes=2)),
        (timedelta(minutes=9), timedelta(minutes=4, seconds=30)),
        (timedelta(hours=9), LONGEST_PAUSE),
    ],
)
def test_the_lookup_interval_grows_with_the_age_of_a_payment(
    site: Site, clock: Clock, age: timedelta, pause: timedelta | None
) -> None:
    site.with_settings(payment_action_timeout=24 * 60)
    site.gateway.outcome = ACTION
    site.pay()
    site.fact(ACTION)
    clock.now = START + age
    assert recover(site) == 1
    shortest = site.payments.recover_in
    assert site.stored().recover_after == clock.now + (shortest if pause is None else pause)


def test_a_pending_refund_is_polled_until_it_is_settled(site: Site, clock: Clock, refunding: Payment) -> None:
    site.refund_fact(refund_id="REF-1", outcome=RefundPending("re_1", "pending"))
    for _ in range(3):
        assert recover(site) == 1
        payment = site.stored()
        assert payment.refunds[0].pending
        assert payment.recover_after is not None
        assert clock.now < payment.recover_after <= clock.now + LONGEST_PAUSE
        clock.now = payment.recover_after + timedelta(seconds=1)
    assert site.gateway.requested == [("find_refund", "re_1")]
    site.refund_fact(refund_id="REF-1", outcome=Refunded("re_1"))
    recover(site)
    assert (site.stored().status, site.stored().recover_after) == (P.PARTIALLY_REFUNDED, None)


def test_the_lookup_interval_follows_the_youngest_open_item(
    site: Site, clock: Clock, refunding: Payment
) -> None:
    clock.now = START + timedelta(hours=5)
    order = RefundOrder(TXN, "BOOK-1", "user_1", "asked for", Decimal(5))
    site.payments.refunds.refund(order, "REF-2")
    for refund_id, gateway_id, amount in (("REF-1", "re_1", 10), ("REF-2", "re_2", 5)):
        site.refund_fact(
            gateway_id,
            refund_id=refund_id,
            amount=Decimal(amount),
            outcome=RefundPending(gateway_id, "pending"),
        )
    clock.pass_by(minutes=4)
    recover(site)
    assert site.stored().recover_after == clock.now + timedelta(minutes=2)


# --- Refunds


@pytest.mark.parametrize(
    ("outcome", "status"), [(Refunded("re_1"), R.COMPLETED), (RefundFailed("re_1", "closed"), R.FAILED)]
)
def test_a_refund_gets_the_outcome_in_the_gateways_records(
    site: Site, refunding: Payment, outcome: Any, status: RefundStatus
) -> None:
    site.refund_fact(refund_id="REF-1", outcome=outcome)
    recover(site)
    (refund,) = site.stored().refunds
    assert (refund.status, refund.gateway_id) == (status, "re_1")
    reach = KEY_MEMORY + CLOCK_SKEW
    assert site.gateway.requested == [("refunds", None, START - CLOCK_SKEW, START + reach)]
    assert site.stored().recover_after is None


def test_a_refund_that_never_reached_the_gateway_releases_its_amount(site: Site, refunding: Payment) -> None:
    recover(site)
    assert site.gateway.requested[1:] == [("seal", "REF-1", Decimal(25), "USD")]
    payment = site.stored()
    assert (payment.refunds[0].status, payment.refund_reserved) == (R.FAILED, Decimal(0))
    assert payment.refunds[0].error_message == "the request never reached the gateway"
    assert statuses(payment)[-1] == ("refund_failed", Actor.RECOVERY)


def test_a_refund_that_arrives_during_the_first_lookup_is_found_by_the_second(
    site: Site, refunding: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seal(key: str, amount: Decimal, currency: str) -> bool:
        site.refund_fact(refund_id="REF-1")
        return False

    monkeypatch.setattr(site.gateway, "seal", seal)
    recover(site)
    assert site.stored().refunds[0].status == R.COMPLETED
    assert site.gateway.requested[1] == ("refunds", None, START - CLOCK_SKEW, START + KEY_MEMORY + CLOCK_SKEW)


def test_a_refund_stays_pending_if_the_gateway_refuses_the_payments_amount_today(
    site: Site, refunding: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.gateway, "seal", refuse_amount)
    recover(site)
    assert site.stored().refunds[0].pending


def test_a_refund_whose_key_is_not_sealed_stays_pending_when_another_refund_is_settled(
    site: Site, refunding: Payment, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = RefundOrder(TXN, "BOOK-1", "user_1", "asked for", Decimal(10))
    site.payments.refunds.refund(order, "REF-2")
    clock.pass_by(hours=1)
    sealed: list[str] = []

    def seal(key: str, amount: Decimal, currency: str) -> bool:
        sealed.append(key)
        if key == "REF-2":
            raise GatewayUnavailable("The request with this key is in progress.")
        return False

    monkeypatch.setattr(site.gateway, "seal", seal)
    recover(site)
    assert sealed == ["REF-1", "REF-2", "REF-2"]
    assert {refund.id: refund.status for refund in site.stored().refunds} == {
        "REF-1": R.FAILED,
        "REF-2": R.PENDING,
    }


def test_a_refund_that_the_gateway_no_longer_knows_stays_pending(
    site: Site, clock: Clock, refunding: Payment
) -> None:
    site.refund_fact(refund_id="REF-1", outcome=RefundPending("re_1", "pending"))
    recover(site)
    site.gateway.refunds_there.clear()
    clock.pass_by(hours=1)
    recover(site)
    assert requested(site) == ["find_refund"]
    assert site.stored().refunds[0].pending


# --- Charged although ended unpaid


def test_recovery_refunds_a_stray_charge_if_refunds_are_automatic(site: Site, clock: Clock) -> None:
    site.with_settings(refund_stray_charges=True)
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    site.gateway.refund_outcome = Unknown("timeout")
    stray = site.payments.settle_by(failed, site.fact(Charged("pi_1")), Actor.WEBHOOK).payment
    assert (stray.stray_charge, stray.refunds[0].pending) == ("pi_1", True)
    clock.pass_by(hours=1)
    site.gateway.refund_outcome = Refunded("re_2")
    recover(site)
    assert requested(site) == ["refunds", "seal", "refunds", "refund"]
    payment = site.stored()
    assert [refund.status for refund in payment.refunds] == [R.FAILED, R.COMPLETED]
    assert (payment.status, payment.stray_charge, payment.recover_after) == (P.REFUNDED, None, None)


def test_a_stray_charge_that_was_refunded_elsewhere_is_not_refunded_again(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    later = site.payments.books.change(
        failed, lambda one: replace(one, stray_charge="pi_1", gateway_id="pi_1", recover_after=START)
    )
    assert later.stray_charge
    site.refund_fact(amount=Decimal(25))
    clock.pass_by(hours=1)
    recover(site)
    assert requested(site) == ["refunds"]
    assert site.stored().status == P.REFUNDED


def test_recovery_leaves_a_stray_charge_to_an_operator_if_refunds_are_not_automatic(
    site: Site, clock: Clock
) -> None:
    site.with_settings(refund_stray_charges=False)
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    site.payments.books.change(
        failed, lambda one: replace(one, stray_charge="pi_1", gateway_id="pi_1", recover_after=START)
    )
    clock.pass_by(hours=1)
    recover(site)
    assert site.gateway.requested == []
    assert site.stored().status == P.FAILED


# --- Claims and time windows


def test_a_claim_is_renewed_while_its_round_is_running(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = site.payments.recover_in
    for number in (1, 2):
        site.gateway.outcome = Unknown("500", f"pi_{number}")
        site.pay(f"TXN-{number}", booking_id=f"BOOK-{number}")
    clock.pass_by(hours=1)
    renewed: list[tuple[list[str], timedelta]] = []
    renew = site.ledger.renew

    def note(token: str, ids: Any, until: Any) -> None:
        renewed.append((sorted(ids), until - clock.now))
        renew(token, ids, until)

    def slow(gateway_id: str) -> None:
        clock.now += lease / 3

    monkeypatch.setattr(site.gateway, "payment", slow)

    def watched(act: Callable[[Any], None], items: Sequence[Any]) -> None:
        monkeypatch.setattr(site.ledger, "renew", note)
        in_turn(act, items)

    recover_due(site.payments, run=watched)
    assert renewed == [(["TXN-2"], lease)]


def test_overlapping_and_adjacent_time_windows_are_merged() -> None:
    def at(minutes: float) -> Any:
        return START + timedelta(minutes=minutes)

    spans = [(at(60), at(70)), (at(0), at(10)), (at(40), at(41)), (at(101), at(102)), (at(5), at(6))]
    assert list(windows(spans)) == [(at(0), at(70)), (at(101), at(102))]
    assert list(windows([])) == []
    assert list(windows([(at(0), at(10)), (at(40), at(50))])) == [(at(0), at(50))]
    assert len(list(windows([(at(0), at(10)), (at(40.1), at(50))]))) == 2
