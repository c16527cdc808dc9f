"""The result of a refund for each gateway outcome, and of refunds made elsewhere."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.errors import (
    GatewayError,
    InvalidAmount,
    RefundNotAllowed,
    ServiceUnavailable,
    TransactionNotFound,
)
from app.gateway import (
    Charged,
    Declined,
    Refunded,
    RefundFailed,
    RefundOutcome,
    RefundPending,
    RefundRequest,
    Refused,
    Share,
    Unknown,
)
from app.idempotency import Attempt
from app.payments import attempts
from app.payments.orders import RefundOrder
from app.payments.records import Payment, Refund
from app.payments.states import Actor, PaymentStatus, RefundStatus
from tests.unit.payments.conftest import START, TXN, Clock, Site, event_types, statuses

P, R = PaymentStatus, RefundStatus
TEN = Decimal(10)
ZERO = Decimal(0)


def order(amount: str | None = "10", **changes: Any) -> RefundOrder:
    created = RefundOrder(TXN, "BOOK-1", "user_1", "asked for", None if amount is None else Decimal(amount))
    return replace(created, **changes)


def refunded(site: Site, amount: str | None = "10", refund_id: str = "REF-1") -> tuple[Payment, Refund]:
    return site.payments.refunds.refund(order(amount), refund_id)


def requested(site: Site) -> list[RefundRequest]:
    return [what[1] for what in site.gateway.requested if isinstance(what[1], RefundRequest)]


@pytest.fixture
def paid(site: Site) -> Payment:
    """Return a completed payment of 25 USD, pi_1 at the gateway."""
    return site.pay()


# --- One request


def test_a_refund_is_reserved_then_requested_then_completed(site: Site, paid: Payment) -> None:
    site.gateway.shares.clear()
    payment, refund = refunded(site)
    assert refund == Refund("REF-1", R.COMPLETED, TEN, "asked for", START, "re_1", processed_at=START)
    assert payment == site.stored()
    assert (payment.status, payment.amount_refunded, payment.refund_reserved) == (
        P.PARTIALLY_REFUNDED,
        TEN,
        TEN,
    )
    assert statuses(payment)[-2:] == [("refund_pending", Actor.API), ("partially_refunded", Actor.API)]
    assert event_types(payment) == ["payment.success", "payment.refund"]
    assert requested(site) == [RefundRequest("REF-1", "pi_1", TEN, "USD")]
    assert site.gateway.shares == [Share.CUSTOMER]


def test_without_an_amount_the_rest_is_refunded(site: Site, paid: Payment) -> None:
    refunded(site)
    payment, refund = refunded(site, None, "REF-2")
    assert (refund.amount, payment.status) == (Decimal(15), P.REFUNDED)
    assert site.pay("TXN-2").status == P.COMPLETED, "the booking is free"


@pytest.mark.parametrize(
    ("outcome", "gateway_id"),
    [(RefundPending("re_1", "insufficient_funds"), "re_1"), (Unknown("timeout"), None)],
)
def test_a_refund_with_an_unknown_outcome_stays_pending_and_reserved(
    site: Site, paid: Payment, log_lines: Any, outcome: RefundOutcome, gateway_id: str | None
) -> None:
    site.gateway.refund_outcome = outcome
    payment, refund = refunded(site)
    assert (refund.status, refund.gateway_id) == (R.PENDING, gateway_id)
    assert (payment.status, payment.refund_reserved, payment.amount_refunded) == (P.COMPLETED, TEN, ZERO)
    assert payment.recover_after == START + site.payments.recover_in
    (line,) = [line for line in log_lines() if line["message"] == "refund outcome unknown"]
    assert (line["transaction_id"], line["refund_transaction_id"], line["actor"]) == (TXN, "REF-1", "api")
    assert (line["booking_id"], line["level"]) == ("BOOK-1", "warning")
    assert line["reason"] == getattr(outcome, "reason", None)


@pytest.mark.parametrize(
    ("outcome", "error", "message"),
    [
        (RefundFailed("re_1", "expired_or_canceled_card"), RefundNotAllowed, "gateway refused this refund"),
        (Refused("charge already refunded"), RefundNotAllowed, "gateway refused this refund"),
        (Refused("rate limit", transient=True), GatewayError, "Nothing was refunded. Please try again soon"),
    ],
)
def test_a_refund_that_was_certainly_not_made_releases_its_amount(
    site: Site, paid: Payment, outcome: RefundOutcome, error: type[Exception], message: str
) -> None:
    site.gateway.refund_outcome = outcome
    with pytest.raises(error, match=message) as raised:
        refunded(site)
    details = {"transaction_id": TXN}
    if error is RefundNotAllowed:
        details["refund_transaction_id"] = "REF-1"
    assert raised.value.details == details  # type: ignore[attr-defined]
    payment = site.stored()
    (refund,) = payment.refunds
    assert (refund.status, refund.error_message) == (R.FAILED, getattr(outcome, "reason", None))
    assert refund.gateway_id == getattr(outcome, "gateway_id", None)
    assert (payment.status, payment.refund_reserved) == (P.COMPLETED, ZERO)
    assert statuses(payment)[-1] == ("refund_failed", Actor.API)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"booking_id": "BOOK-2"}, "another booking or user"),
        ({"user_id": "user_2"}, "another booking or user"),
        ({"amount": Decimal("25.01")}, r"^The refund exceeds the amount left to refund, 25\.00 USD\.$"),
    ],
)
def test_a_disallowed_refund_is_not_recorded(
    site: Site, paid: Payment, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(RefundNotAllowed, match=message) as refused:
        site.payments.refunds.refund(order(**changes) if "amount" not in changes else order("25.01"), "REF-1")
    expected: dict[str, Any] = {"left": 25.0} if "amount" in changes else {"transaction_id": TXN}
    assert refused.value.details == expected
    assert (site.stored(), requested(site)) == (paid, [])


def test_nothing_is_left_after_a_full_reservation(site: Site, paid: Payment) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    refunded(site, None)
    for amount in (None, "0.01"):
        with pytest.raises(
            RefundNotAllowed, match=r"^The refund exceeds the amount left to refund, 0\.00 USD\.$"
        ):
            refunded(site, amount, "REF-2")


def test_a_refund_of_a_failed_or_unknown_payment_is_refused(site: Site) -> None:
    with pytest.raises(TransactionNotFound):
        refunded(site)
    site.gateway.outcome = Declined(declines.FUNDS)
    site.pay()
    with pytest.raises(RefundNotAllowed, match=r"^The payment can't be refunded: its status is failed\.$"):
        refunded(site)


def test_an_amount_with_too_many_decimals_is_refused(site: Site, paid: Payment) -> None:
    with pytest.raises(InvalidAmount) as refused:
        refunded(site, "1.001")
    assert refused.value.details == {"field": "refund_amount"}


def test_a_refund_that_finds_no_slot_at_the_gateway_is_not_recorded(site: Site, paid: Payment) -> None:
    site.gateway.full = {Share.CUSTOMER}
    with pytest.raises(GatewayError):
        refunded(site)
    assert site.stored() == paid


def test_concurrent_refunds_never_exceed_the_payment(
    site: Site, paid: Payment, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, others = site.ledger.write, [1]

    def write_second(before: Payment, after: Payment) -> bool:
        if others:
            others.pop()
            refunded(site, "20", "REF-0")
        return write(before, after)

    monkeypatch.setattr(site.ledger, "write", write_second)
    with pytest.raises(RefundNotAllowed, match="exceeds the amount left to refund"):
        refunded(site, "20")
    assert [refund.id for refund in site.stored().refunds] == ["REF-0"]


# --- The same request, repeated


def test_a_repeated_refund_is_requested_with_the_same_key(site: Site, paid: Payment, clock: Clock) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)
    clock.pass_by(seconds=30)
    payment, refund = site.payments.refunds.resume(payment, "REF-1")
    assert refund.pending
    assert payment.recover_after == START + timedelta(seconds=30) + site.payments.recover_in
    site.gateway.refund_outcome = Refunded("re_1")
    assert site.payments.refunds.resume(payment, "REF-1")[1].status == R.COMPLETED
    assert requested(site) == [RefundRequest("REF-1", "pi_1", TEN, "USD")] * 3


def test_a_repeated_refund_that_is_settled_or_known_to_the_gateway_is_returned(
    site: Site, paid: Payment
) -> None:
    done = refunded(site)
    assert site.payments.refunds.resume(*(done[0], "REF-1")) == done
    site.gateway.refund_outcome = RefundPending("re_2", "pending")
    pending = refunded(site, "5", "REF-2")
    assert site.payments.refunds.resume(pending[0], "REF-2") == pending
    assert len(requested(site)) == 2


def test_a_repeated_refund_that_failed_is_refused_again(site: Site, paid: Payment) -> None:
    site.gateway.refund_outcome = Refused("no")
    with pytest.raises(RefundNotAllowed):
        refunded(site)
    with pytest.raises(RefundNotAllowed, match="refused this refund") as refused:
        site.payments.refunds.resume(site.stored(), "REF-1")
    assert refused.value.details == {"transaction_id": TXN, "refund_transaction_id": "REF-1"}
    with pytest.raises(ValueError, match="TXN-1 has no refund REF-9"):
        site.payments.refunds.resume(site.stored(), "REF-9")


@pytest.fixture
def unknown(site: Site, paid: Payment) -> Payment:
    """Return a payment with REF-1, whose outcome is unknown."""
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)
    site.gateway.refund_outcome = Refunded("re_1")
    return payment


def record_as_never_carried_out(site: Site) -> None:
    """Record REF-1 as recovery does after it has sealed the key."""
    outcome = Refused("the request never reached the gateway")
    site.payments.refunds.record(site.stored(), "REF-1", outcome, Actor.RECOVERY)


def repeated(site: Site) -> tuple[Attempt, Refund]:
    """Repeat the request of REF-1 with its Idempotency-Key."""
    attempt = Attempt("REF-1", resumed=True)
    _, refund = attempts.refund(site.payments, order(), attempt)
    return attempt, refund


@pytest.mark.parametrize("is_meanwhile", [False, True], ids=["before", "meanwhile"])
def test_a_repeated_refund_that_recovery_has_ruled_out_is_made_with_a_new_id(
    site: Site, unknown: Payment, monkeypatch: pytest.MonkeyPatch, is_meanwhile: bool
) -> None:
    write = site.ledger.write

    def write_later(before: Payment, after: Payment) -> bool:
        monkeypatch.setattr(site.ledger, "write", write)
        record_as_never_carried_out(site)
        return write(before, after)

    if is_meanwhile:
        monkeypatch.setattr(site.ledger, "write", write_later)
    else:
        record_as_never_carried_out(site)
    attempt, refund = repeated(site)
    assert (refund.status, refund.amount, refund.id) == (R.COMPLETED, TEN, attempt.transaction_id)
    payment = site.stored()
    assert [(one.id, one.status) for one in payment.refunds] == [
        ("REF-1", R.FAILED),
        (refund.id, R.COMPLETED),
    ]
    assert (payment.amount_refunded, payment.refund_reserved) == (TEN, TEN)


def test_a_repeated_refund_that_the_gateway_had_accepted_is_not_made_again(
    site: Site, unknown: Payment
) -> None:
    failure = RefundFailed("re_1", "account closed")
    site.payments.refunds.record(unknown, "REF-1", failure, Actor.WEBHOOK)
    with pytest.raises(RefundNotAllowed, match="refused this refund"):
        repeated(site)
    assert [(one.id, one.status) for one in site.stored().refunds] == [("REF-1", R.FAILED)]


def test_a_repeated_refund_that_the_gateway_refuses_is_refused(site: Site, unknown: Payment) -> None:
    site.gateway.refund_outcome = Refused("charge already refunded")
    with pytest.raises(RefundNotAllowed, match="refused this refund"):
        repeated(site)
    assert [one.id for one in site.stored().refunds] == ["REF-1"]


def test_a_refund_completed_by_a_webhook_during_the_request_is_complete(site: Site, paid: Payment) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)
    site.payments.refunds.record(payment, "REF-1", Refunded("re_1"), Actor.WEBHOOK)
    late = site.payments.refunds.record(payment, "REF-1", Refunded("re_1"), Actor.API)
    assert late == site.stored()
    assert event_types(late).count("payment.refund") == 1
    assert site.payments.refunds.resume(payment, "REF-1")[1].status == R.COMPLETED


def test_a_refund_whose_outcome_cannot_be_recorded_stays_pending(
    site: Site, paid: Payment, monkeypatch: pytest.MonkeyPatch, log_lines: Any
) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)

    def unavailable(*_: object) -> bool:
        raise ServiceUnavailable("down")

    monkeypatch.setattr(site.ledger, "write", unavailable)
    assert site.payments.refunds.record(payment, "REF-1", Refunded("re_1"), Actor.API) == payment
    (line,) = [line for line in log_lines() if line["message"] == "refund outcome not recorded"]
    assert (line["refund_transaction_id"], line["level"], line["reason"]) == ("REF-1", "warning", "down")


def test_an_outcome_that_contradicts_the_record_is_logged_as_an_error(
    site: Site, paid: Payment, log_lines: Any
) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)
    wrong = replace(payment, status=P.PENDING)
    assert site.ledger.write(payment, wrong)
    site.payments.refunds.record(wrong, "REF-1", Refunded("re_1"), Actor.RECOVERY)
    (line,) = [line for line in log_lines() if line["message"] == "refund outcome does not match the record"]
    assert (line["level"], line["transaction_id"], line["actor"]) == ("error", TXN, "recovery")
    assert line["reason"] == "TXN-1 is pending and can't become partially_refunded"
    assert site.stored().refunds[0].pending


# --- In the gateway's records


def test_refunds_made_elsewhere_are_adopted(site: Site, paid: Payment, clock: Clock) -> None:
    clock.pass_by(hours=1)
    site.refund_fact()
    site.refund_fact("re_2", amount=Decimal(5), refund_id="REF-OLD")
    site.refund_fact("re_9", payment_gateway_id="pi_9")
    payment = site.payments.refunds.synchronize(paid, Actor.WEBHOOK)
    assert ("refunds", "pi_1", None, None) in site.gateway.requested
    first, second = payment.refunds
    assert first.id.startswith("REF-")
    now = START + timedelta(hours=1)
    assert first == Refund(
        first.id, R.COMPLETED, TEN, "Refunded by our payment provider", now, "re_1", processed_at=now
    )
    assert (second.id, second.amount, second.gateway_id) == ("REF-OLD", Decimal(5), "re_2")
    assert (payment.amount_refunded, payment.refund_reserved) == (Decimal(15), Decimal(15))
    assert event_types(payment).count("payment.refund") == 2
    assert site.payments.refunds.synchronize(payment, Actor.WEBHOOK) == payment, "once"


@pytest.mark.parametrize(
    "outcome", [RefundPending("re_1", "pending"), RefundFailed("re_1", "failed")], ids=["pending", "failed"]
)
def test_a_refund_made_elsewhere_that_moved_no_money_is_not_recorded(
    site: Site, paid: Payment, outcome: RefundOutcome
) -> None:
    site.refund_fact(outcome=outcome)
    assert site.payments.refunds.synchronize(paid, Actor.WEBHOOK) == paid


def test_our_pending_refund_gets_the_gateways_outcome_by_either_id(site: Site, paid: Payment) -> None:
    site.gateway.refund_outcome = RefundPending("re_1", "pending")
    refunded(site)
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site, "5", "REF-2")
    facts = [
        site.refund_fact("re_1"),
        site.refund_fact("re_2", refund_id="REF-2", amount=Decimal(5)),
    ]
    payment = site.payments.refunds.record_all(payment, facts, Actor.RECOVERY)
    assert [(each.id, each.status, each.gateway_id) for each in payment.refunds] == [
        ("REF-1", R.COMPLETED, "re_1"),
        ("REF-2", R.COMPLETED, "re_2"),
    ]
    assert statuses(payment)[-1] == ("partially_refunded", Actor.RECOVERY)


def test_a_refund_that_fails_after_it_succeeded_is_reversed(site: Site, paid: Payment) -> None:
    payment, _ = refunded(site)
    fact = site.refund_fact(refund_id="REF-1", outcome=RefundFailed("re_1", "account closed"))
    payment = site.payments.refunds.record_fact(payment, fact, Actor.WEBHOOK)
    assert (payment.status, payment.amount_refunded, payment.refund_reserved) == (P.COMPLETED, ZERO, ZERO)
    assert payment.refunds[0].error_message == "account closed"


@pytest.mark.parametrize(
    ("field", "value"),
    [("payment_gateway_id", "pi_2"), ("currency", "JPY"), ("amount", Decimal(11))],
)
def test_a_refund_that_does_not_agree_changes_nothing_and_is_logged(
    site: Site, paid: Payment, log_lines: Any, field: str, value: object
) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    payment, _ = refunded(site)
    different: dict[str, Any] = {field: value}
    fact = site.refund_fact(refund_id="REF-1", **different)
    assert site.payments.refunds.record_fact(payment, fact, Actor.WEBHOOK) == payment
    (line,) = [line for line in log_lines() if line["message"] == "gateway refund does not match the record"]
    assert (line["level"], line["field"]) == ("error", field)
    assert (line["transaction_id"], line["gateway_id"]) == (TXN, "re_1")


def test_a_payment_without_a_gateway_id_has_no_refunds_to_list(site: Site) -> None:
    site.gateway.outcome = Unknown("timeout")
    payment = site.pay()
    site.gateway.requested.clear()
    assert site.payments.refunds.synchronize(payment, Actor.WEBHOOK) is payment
    assert site.gateway.requested == []


# --- Charged although ended unpaid


@pytest.fixture
def stray(site: Site) -> Payment:
    """Return a failed payment of 25 USD that the gateway charged as pi_1, left to an operator."""
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    return site.payments.refunds.undo_charge(failed, "pi_1", Actor.RECOVERY, automatic=False)


def test_a_stray_charge_waits_for_an_operator_if_refunds_are_not_automatic(
    site: Site, stray: Payment
) -> None:
    assert (stray.stray_charge, stray.gateway_id, stray.recover_after) == ("pi_1", "pi_1", None)
    assert (stray.status, requested(site)) == (P.FAILED, [])


def test_a_stray_charge_is_due_for_recovery_before_its_refund_begins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    monkeypatch.setattr(site.payments.refunds, "refund_stray", lambda payment, _actor: payment)
    left = site.payments.refunds.undo_charge(failed, "pi_1", Actor.WEBHOOK, automatic=True)
    assert left.recover_after == START + site.payments.recover_in
    assert (left.history[-1].at, left.history[-1].actor) == (START, Actor.WEBHOOK)


@pytest.mark.parametrize(
    ("outcome", "status", "left"),
    [
        (Refunded("re_1"), P.REFUNDED, None),
        (Unknown("timeout"), P.FAILED, "pi_1"),
        (Refused("no"), P.FAILED, "pi_1"),
    ],
)
def test_a_stray_charge_is_refunded_in_full(
    site: Site, stray: Payment, outcome: RefundOutcome, status: PaymentStatus, left: str | None
) -> None:
    site.gateway.refund_outcome = outcome
    payment = site.payments.refunds.refund_stray(stray, Actor.OPERATOR)
    (request,) = requested(site)
    assert (request.payment_gateway_id, request.amount, request.currency) == ("pi_1", Decimal(25), "USD")
    assert (payment.status, payment.stray_charge) == (status, left)
    assert payment.refunds[0].id == request.refund_id
    assert payment.refunds[0].reason == "The payment had failed, and was charged all the same"
    if left:
        assert payment.recover_after is not None


def test_a_refused_stray_refund_can_be_retried(site: Site, stray: Payment) -> None:
    site.gateway.refund_outcome = Refused("no")
    payment = site.payments.refunds.refund_stray(stray, Actor.OPERATOR)
    site.gateway.refund_outcome = Refunded("re_2")
    assert site.payments.refunds.refund_stray(payment, Actor.OPERATOR).status == P.REFUNDED


def test_a_stray_refund_started_elsewhere_is_not_requested_twice(site: Site, stray: Payment) -> None:
    site.gateway.refund_outcome = Unknown("timeout")
    site.payments.refunds.refund_stray(stray, Actor.RECOVERY)
    site.payments.refunds.refund_stray(stray, Actor.WEBHOOK)
    assert len(requested(site)) == 1


def test_a_charge_that_is_not_stray_is_not_refunded(site: Site) -> None:
    site.gateway.outcome = Charged("pi_1")
    paid = site.pay()
    assert site.payments.refunds.refund_stray(paid, Actor.OPERATOR) is paid
    assert requested(site) == []
