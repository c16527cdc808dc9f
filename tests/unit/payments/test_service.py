"""The result of a payment for each gateway outcome."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr

from app import declines
from app.errors import (
    CancelNotAllowed,
    CardExpired,
    DuplicateTransaction,
    GatewayError,
    InvalidAmount,
    InvalidCard,
    InvalidRequest,
    Problem,
    ServiceUnavailable,
    TransactionNotFound,
    Unacknowledged,
)
from app.gateway import (
    ActionRequired,
    Canceled,
    CardDetails,
    Charge,
    Charged,
    Declined,
    GatewayPayment,
    PaymentOutcome,
    RefundRequest,
    Refused,
    Share,
    Unknown,
)
from app.idempotency import Attempt
from app.payments import attempts, changes
from app.payments.books import ELECTION
from app.payments.orders import CancelOrder
from app.payments.records import Payment
from app.payments.service import PaymentResult
from app.payments.states import Actor, PaymentStatus
from tests.unit.payments.conftest import START, TXN, Clock, Site, event_types, statuses

P = PaymentStatus
ACTION = ActionRequired("pi_1", "pi_1_secret", "https://gateway.example/3ds")
REQUESTED = Canceled("pi_1", declines.NOT_CONFIRMED, requested=True)
CARD = CardDetails("4242424242424242", "123", 12, 2030)


def waiting(site: Site, **changes: Any) -> Payment:
    """A payment that waits for its customer."""
    site.gateway.outcome = ACTION
    return site.pay(**changes)


# --- One request


def test_a_charge_completes_the_payment(site: Site) -> None:
    paid = site.pay(metadata={"seat": "B5"}, return_url="https://shop.example/")
    assert paid == site.stored()
    assert statuses(paid) == [("pending", Actor.API), ("completed", Actor.API)]
    assert (paid.card_brand, paid.card_last_four, paid.gateway_id) == ("visa", "4242", "pi_1")
    assert event_types(paid) == ["payment.success"]
    assert site.announced == ["BOOK-1"]
    expected = Charge(
        TXN,
        Decimal(25),
        "USD",
        "BOOK-1",
        "user_1",
        "pm_token",
        "card",
        "https://shop.example/",
        {"seat": "B5"},
    )
    assert site.gateway.requested == [("charge", expected)]
    assert site.gateway.shares == [Share.CUSTOMER]


@pytest.mark.parametrize(
    ("outcome", "status", "gateway_id", "events"),
    [
        (Declined(declines.FUNDS, "pi_1"), P.FAILED, "pi_1", ["payment.failed"]),
        (Canceled("pi_1", declines.NOT_CONFIRMED), P.FAILED, "pi_1", ["payment.failed"]),
        (REQUESTED, P.CANCELED, "pi_1", ["payment.canceled"]),
        (ACTION, P.REQUIRES_ACTION, "pi_1", []),
        (Unknown("timeout"), P.PENDING, None, []),
        (Unknown("a 500 that names it", "pi_1"), P.PENDING, "pi_1", []),
    ],
)
def test_every_other_outcome_has_its_status(
    site: Site, outcome: PaymentOutcome, status: PaymentStatus, gateway_id: str | None, events: list[str]
) -> None:
    site.gateway.outcome = outcome
    result = site.payments.pay(site.order(), TXN)
    paid = result.payment
    assert (paid.status, paid.gateway_id, event_types(paid)) == (status, gateway_id, events)
    assert result.action == (ACTION if status == P.REQUIRES_ACTION else None)
    if isinstance(outcome, Declined | Canceled) and status == P.FAILED:
        assert (paid.error_code, paid.error_message) == (outcome.decline.code, outcome.decline.message)
    unsettled = status in (P.PENDING, P.REQUIRES_ACTION)
    assert paid.recover_after == (START + site.payments.recover_in if unsettled else None)


def test_the_first_lookup_is_due_after_the_longest_gateway_call(site: Site) -> None:
    budget = timedelta(seconds=site.settings.gateway_time_budget)
    assert site.payments.recover_in == budget + timedelta(seconds=10)


@pytest.mark.parametrize(
    ("outcome", "error", "message", "events"),
    [
        (Refused("rate limit", transient=True), GatewayError, declines.GATEWAY_ERROR.message, []),
        (Refused("bad request"), GatewayError, declines.GATEWAY_ERROR.message, ["payment.failed"]),
        (
            Refused("too small", bad_amount=True),
            InvalidAmount,
            declines.BAD_AMOUNT.message,
            ["payment.failed"],
        ),
    ],
)
def test_a_refusal_fails_the_payment_and_raises_an_error(
    site: Site, outcome: Refused, error: type[Problem], message: str, events: list[str]
) -> None:
    site.gateway.outcome = outcome
    with pytest.raises(error) as raised:
        site.pay()
    assert (raised.value.message, raised.value.details) == (message, {"transaction_id": TXN})
    stored = site.stored()
    assert (stored.status, event_types(stored)) == (P.FAILED, events)
    assert (stored.error_message, stored.history[-1].note) == (message, outcome.reason)


def test_a_payment_that_finds_no_slot_at_the_gateway_is_not_recorded(site: Site) -> None:
    site.gateway.full = {Share.CUSTOMER}
    with pytest.raises(GatewayError):
        site.pay()
    assert (site.ledger.find(TXN), site.gateway.requested) == (None, [])


def test_a_booking_is_paid_once(site: Site) -> None:
    site.pay()
    with pytest.raises(DuplicateTransaction) as duplicate:
        site.pay("TXN-2")
    assert duplicate.value.details == {"booking_id": "BOOK-1", "transaction_id": TXN}
    assert len(site.gateway.requested) == 1


# --- Checks before any gateway call


@pytest.mark.parametrize(
    ("changes", "error", "field"),
    [
        ({"payment_method": "barter"}, InvalidRequest, "payment_method"),
        ({"return_url": "http://shop.example/"}, InvalidRequest, "return_url"),
        ({"return_url": "javascript:alert(1)"}, InvalidRequest, "return_url"),
        ({"return_url": "ftp://localhost/"}, InvalidRequest, "return_url"),
        ({"amount": Decimal("10000.01")}, InvalidAmount, "amount"),
        ({"amount": Decimal(10**9), "currency": "KRW"}, InvalidAmount, "amount"),
        ({"amount": Decimal("1.001")}, InvalidAmount, None),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_recorded(
    site: Site, changes: dict[str, Any], error: type[Problem], field: str | None
) -> None:
    with pytest.raises(error) as refused:
        site.pay(**changes)
    assert field is None or refused.value.details == {"field": field}
    assert (site.ledger.find(TXN), site.gateway.requested) == (None, [])


@pytest.mark.parametrize(
    "changes",
    [
        {"return_url": "https://shop.example/"},
        {"return_url": "http://localhost:3000/"},
        {"return_url": "http://127.0.0.1/"},
        {"return_url": "http://[::1]/"},
        {"return_url": "cinemaapp://paid"},
        {"amount": Decimal(10_000)},
        {"amount": Decimal(10**9 - 1), "currency": "KRW"},
        {"currency": None},
    ],
)
def test_an_order_at_the_limits_is_accepted(site: Site, changes: dict[str, Any]) -> None:
    site.with_settings(return_url_schemes=("cinemaapp",))
    paid = site.pay(**changes)
    assert (paid.status, paid.currency) == (P.COMPLETED, changes.get("currency") or "USD")


def test_a_refused_return_url_names_the_schemes(site: Site) -> None:
    site.with_settings(return_url_schemes=("cinemaapp",))
    with pytest.raises(
        InvalidRequest, match=r"^return_url must start with one of these schemes: https, cinemaapp\.$"
    ):
        site.pay(return_url="http://shop.example/")


@pytest.mark.parametrize(
    ("changes", "method", "kind"),
    [
        ({}, "pm_token", "card"),
        ({"payment_token": None}, "pm_default", "card"),
        ({"payment_token": None, "card": CARD}, "pm_test_4242", "card"),
        ({"payment_token": None, "payment_method": "stripe"}, None, "element"),
        ({"payment_token": None, "payment_method": "stripe", "card": CARD}, "pm_test_4242", "card"),
        ({"payment_method": "stripe"}, "pm_token", "card"),
        ({"payment_token": None, "payment_method": "paypal"}, None, "paypal"),
        ({"payment_method": "paypal"}, None, "paypal"),
    ],
)
def test_the_order_selects_the_payment_source(
    site: Site, changes: dict[str, Any], method: str | None, kind: str
) -> None:
    site.pay(**changes)
    ((_, charge),) = site.gateway.requested
    assert isinstance(charge, Charge)
    assert (charge.payment_method, charge.kind, site.stored().gateway_method) == (method, kind, method)


def live(site: Site, **changes: Any) -> Site:
    site.with_settings(payment_gateway_api_key=SecretStr("sk_live_x"), **changes)
    assert site.payments.settings.is_gateway_live
    return site


def test_live_mode_requires_a_token_and_refuses_card_numbers(site: Site) -> None:
    for fields, message in (
        ({"card": None}, "payment_token is missing"),
        ({"card": CARD}, "Raw card numbers are not accepted"),
    ):
        with pytest.raises(InvalidRequest, match=message) as refused:
            live(site).pay(payment_token=None, **fields)
        assert refused.value.details == {"field": "payment_token"}
    assert site.ledger.find(TXN) is None


def test_live_mode_tokenizes_a_raw_card_if_allowed(site: Site) -> None:
    live(site, allow_raw_card_data=True).pay(payment_token=None, card=CARD)
    assert site.gateway.requested[0] == ("tokenize", CARD)
    assert site.stored().gateway_method == "pm_tokenized"


@pytest.mark.parametrize(
    ("tokenized", "error", "message"),
    [
        (Declined(declines.EXPIRED), CardExpired, declines.EXPIRED.message),
        (Declined(declines.CVC), InvalidCard, declines.CVC.message),
        (Declined(declines.GENERIC), InvalidCard, declines.GENERIC.message),
        (Refused("key"), GatewayError, declines.GATEWAY_ERROR.message),
    ],
)
def test_a_card_that_is_refused_at_tokenization_is_not_recorded(
    site: Site, tokenized: Declined | Refused, error: type[Problem], message: str
) -> None:
    site.gateway.tokenized = tokenized
    with pytest.raises(error) as refused:
        live(site, allow_raw_card_data=True).pay(payment_token=None, card=CARD)
    assert (type(refused.value), refused.value.message) == (error, message)
    assert (site.ledger.find(TXN), len(site.gateway.requested)) == (None, 1)


def test_an_invalid_card_number_is_not_sent_to_the_gateway(site: Site) -> None:
    with pytest.raises(InvalidCard):
        site.pay(payment_token=None, card=replace(CARD, number="4242424242424241"))
    with pytest.raises(CardExpired):
        site.pay(payment_token=None, card=replace(CARD, year=2026, month=11))
    assert site.gateway.requested == []


# --- The same request, repeated


def test_a_repeated_request_charges_an_unknown_payment_with_the_same_key(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    first = site.pay()
    clock.pass_by(seconds=5)
    site.gateway.outcome = Charged("pi_1")
    result = site.payments.resume(first)
    assert result.payment.status == P.COMPLETED
    assert site.gateway.requested[0] == site.gateway.requested[1]
    assert site.stored().attempted_at == START + timedelta(seconds=5)


def test_a_repeated_request_makes_a_new_payment_if_recovery_rules_the_first_out_meanwhile(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.gateway.outcome = Unknown("timeout")
    site.pay()
    site.gateway.outcome = Charged("pi_2")
    clock.pass_by(minutes=1)
    write = site.ledger.write

    def write_later(before: Payment, after: Payment) -> bool:
        monkeypatch.setattr(site.ledger, "write", write)
        site.payments.give_up(before, Actor.RECOVERY)
        return write(before, after)

    monkeypatch.setattr(site.ledger, "write", write_later)
    attempt = Attempt(TXN, resumed=True)
    paid = attempts.pay(site.payments, site.order(), attempt, str).payment
    assert (paid.status, paid.id) == (P.COMPLETED, attempt.transaction_id)
    assert site.stored().status == P.FAILED


def test_a_repeated_request_looks_up_a_payment_that_the_gateway_knows(site: Site) -> None:
    first = waiting(site)
    site.fact(Charged("pi_1"))
    assert site.payments.resume(first).payment.status == P.COMPLETED
    assert site.gateway.requested[-1] == ("payment", "pi_1")
    site.gateway.outcome = Unknown("500", "pi_2")
    unknown = site.pay("TXN-2", booking_id="BOOK-2")
    site.payments.resume(unknown)
    assert site.gateway.requested[-1] == ("payment", "pi_2")


def test_an_outcome_recorded_meanwhile_is_kept(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    first = site.pay()
    clock.pass_by(seconds=5)
    site.payments.give_up(first, Actor.RECOVERY)
    assert site.payments.resume(first).payment.status == P.FAILED
    assert len(site.gateway.requested) == 1, "it was not charged again"


def test_a_refused_repetition_does_not_settle_the_first_request(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    first = site.pay()
    clock.pass_by(seconds=5)
    site.payments.resume(first)
    refused = site.payments.record(first, Refused("rate limit", transient=True), Actor.API)
    assert (refused.status, site.stored().status) == (P.PENDING, P.PENDING)


# --- Lookups


def test_a_status_read_settles_the_payment(site: Site) -> None:
    payment = waiting(site)
    site.gateway.shares.clear()
    site.fact(Charged("pi_1", "visa", "4242"))
    result = site.payments.look_up(payment)
    assert result == PaymentResult(site.stored())
    assert (result.payment.status, site.gateway.shares) == (P.COMPLETED, [Share.STATUS])
    assert statuses(result.payment)[-1] == ("completed", Actor.API)


@pytest.mark.parametrize("trouble", ["slow", "down"])
def test_a_status_read_returns_the_stored_state_while_the_gateway_is_slow_or_down(
    site: Site, trouble: str
) -> None:
    payment = waiting(site)
    site.gateway.full = {Share.STATUS} if trouble == "slow" else set()
    site.gateway.down = trouble == "down"
    assert site.payments.look_up(payment) == PaymentResult(payment, ACTION)


def test_a_status_read_returns_the_read_state_if_its_update_fails(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    payment = waiting(site)

    def unavailable(*_: object) -> None:
        raise ServiceUnavailable("down")

    monkeypatch.setattr(site.payments, "settle", unavailable)
    assert site.payments.look_up(payment) == PaymentResult(payment, ACTION)


def test_frequent_status_requests_cause_few_gateway_calls(site: Site) -> None:
    payment = waiting(site)
    site.fact(ACTION)
    results = [site.payments.look_up(payment) for _ in range(10)]
    assert {result.action for result in results} == {ACTION}
    assert site.gateway.requested.count(("payment", "pi_1")) == 2


@pytest.mark.parametrize("status", [P.COMPLETED, P.FAILED, P.CANCELED, P.REFUNDED, P.PARTIALLY_REFUNDED])
def test_a_settled_payment_is_not_looked_up(site: Site, status: PaymentStatus) -> None:
    payment = replace(site.pay(), status=status)
    site.gateway.requested.clear()
    assert site.payments.look_up(payment) == PaymentResult(payment)
    assert site.gateway.requested == []


def test_a_payment_without_a_gateway_id_is_not_looked_up(site: Site) -> None:
    site.gateway.outcome = Unknown("timeout")
    payment = site.pay()
    site.gateway.requested.clear()
    assert site.payments.look_up(payment) == PaymentResult(payment)
    assert site.gateway.requested == []
    with pytest.raises(ValueError, match="TXN-1 has no gateway id yet"):
        site.payments.settle(payment, Actor.API)


def test_a_payment_unknown_to_the_gateway_is_unchanged_and_logged(site: Site, log_lines: Any) -> None:
    payment = waiting(site)
    assert site.payments.settle(payment, Actor.RECOVERY) == PaymentResult(payment)
    (line,) = [line for line in log_lines() if line["message"] == "payment unknown to the gateway"]
    assert (line["level"], line["transaction_id"], line["gateway_id"]) == ("error", TXN, "pi_1")


@pytest.mark.parametrize(
    ("minutes", "is_canceled"), [(59, False), (60, False), (61, True)], ids=["in time", "at the end", "over"]
)
def test_a_customer_has_an_hour_to_confirm(site: Site, clock: Clock, minutes: int, is_canceled: bool) -> None:
    site.with_settings(payment_action_timeout=60)
    payment = waiting(site)
    site.fact(ACTION)
    site.gateway.after_cancel = replace(site.fact(ACTION), outcome=Canceled("pi_1", declines.NOT_CONFIRMED))
    clock.pass_by(minutes=minutes)
    result = site.payments.settle(payment, Actor.RECOVERY)
    assert (("cancel", "pi_1", True) in site.gateway.requested) is is_canceled
    assert result.payment.status == (P.FAILED if is_canceled else P.REQUIRES_ACTION)
    assert result.action == (None if is_canceled else ACTION)


def test_a_payment_with_failed_authentication_is_canceled_before_it_fails(site: Site) -> None:
    payment = waiting(site)
    fact = site.fact(Declined(declines.AUTHENTICATION, "pi_1"))
    site.gateway.after_cancel = replace(fact, outcome=Canceled("pi_1", declines.AUTHENTICATION))
    settled = site.payments.settle(payment, Actor.WEBHOOK).payment
    assert site.gateway.requested[-1] == ("cancel", "pi_1", True)
    assert (settled.status, settled.error_message) == (P.FAILED, declines.AUTHENTICATION.message)


def test_a_payment_confirmed_before_its_cancellation_is_paid(site: Site, clock: Clock) -> None:
    payment = waiting(site)
    fact = site.fact(ACTION)
    site.gateway.after_cancel = replace(fact, outcome=Charged("pi_1"))
    clock.pass_by(days=1)
    assert site.payments.settle(payment, Actor.RECOVERY).payment.status == P.COMPLETED


def test_a_declined_payment_that_cannot_be_confirmed_needs_no_cancellation(site: Site) -> None:
    site.gateway.outcome = Unknown("500", "pi_1")
    payment = site.pay()
    site.fact(Declined(declines.FUNDS, "pi_1"))
    assert site.payments.settle(payment, Actor.RECOVERY).payment.status == P.FAILED
    assert site.gateway.requested[-1] == ("payment", "pi_1")


def test_an_open_intent_of_a_failed_payment_is_canceled(site: Site) -> None:
    site.gateway.outcome = Declined(declines.FUNDS, "pi_1")
    payment = site.pay()
    fact = site.fact(ACTION)
    site.gateway.after_cancel = replace(fact, outcome=Canceled("pi_1", declines.FUNDS))
    assert site.payments.settle_by(payment, fact, Actor.WEBHOOK).payment.status == P.FAILED
    assert site.gateway.requested[-1] == ("cancel", "pi_1", True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("namespace", "other."),
        ("transaction_id", "TXN-2"),
        ("transaction_id", None),
        ("booking_id", "BOOK-2"),
        ("amount", Decimal(50)),
        ("currency", "JPY"),
        ("gateway_id", "pi_2"),
    ],
)
def test_a_fact_that_does_not_agree_changes_nothing_and_is_logged(
    site: Site, log_lines: Any, field: str, value: object
) -> None:
    payment = waiting(site)
    different: dict[str, Any] = {field: value}
    fact = replace(site.fact(Charged("pi_1")), **different)
    assert site.payments.settle_by(payment, fact, Actor.WEBHOOK) == PaymentResult(payment)
    assert site.stored() == payment
    (line,) = [line for line in log_lines() if line["message"] == "gateway payment does not match the record"]
    assert (line["level"], line["field"], line["transaction_id"]) == ("error", field, TXN)
    assert (line["booking_id"], line["gateway_id"]) == ("BOOK-1", fact.gateway_id)


def test_a_fact_names_the_gateways_id_where_the_record_has_none(site: Site) -> None:
    site.gateway.outcome = Unknown("timeout")
    payment = site.pay()
    settled = site.payments.settle_by(payment, site.fact(Charged("pi_7"), "pi_7"), Actor.WEBHOOK).payment
    assert (settled.status, settled.gateway_id) == (P.COMPLETED, "pi_7")


# --- Charged although recorded as failed


@pytest.mark.parametrize("automatic", [True, False])
def test_a_charge_of_a_failed_payment_is_refunded_or_kept_for_an_operator(
    site: Site, automatic: bool
) -> None:
    site.with_settings(refund_stray_charges=automatic)
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    assert (failed.status, failed.history[-1].note) == (P.FAILED, "the gateway never charged it")
    assert event_types(failed) == ["payment.failed"]
    settled = site.payments.settle_by(failed, site.fact(Charged("pi_1")), Actor.WEBHOOK).payment
    requested = [what for what in site.gateway.requested if what[0] == "refund"]
    if automatic:
        ((_, request),) = requested
        assert isinstance(request, RefundRequest)
        assert (request.payment_gateway_id, request.amount, request.currency) == ("pi_1", Decimal(25), "USD")
        assert (settled.status, settled.amount_refunded) == (P.REFUNDED, Decimal(25))
        assert settled.refunds[0].reason == "The payment had failed, and was charged all the same"
        assert settled.stray_charge is None
    else:
        assert requested == []
        assert (settled.status, settled.stray_charge, settled.recover_after) == (P.FAILED, "pi_1", None)
    assert ("charged_although_failed", Actor.WEBHOOK) in statuses(settled)


def test_a_stray_charge_is_refunded_once(site: Site) -> None:
    site.gateway.outcome = Unknown("timeout")
    failed = site.payments.give_up(site.pay(), Actor.RECOVERY)
    site.gateway.refund_outcome = Unknown("timeout")
    fact = site.fact(Charged("pi_1"))
    for _ in range(3):
        site.payments.settle_by(failed, fact, Actor.WEBHOOK)
    assert len([what for what in site.gateway.requested if what[0] == "refund"]) == 1
    assert len(site.stored().refunds) == 1


def test_give_up_does_not_fail_a_payment_with_a_new_attempt(site: Site, clock: Clock) -> None:
    site.gateway.outcome = Unknown("timeout")
    first = site.pay()
    clock.pass_by(seconds=1)
    site.payments.resume(first)
    assert site.payments.give_up(first, Actor.RECOVERY).status == P.PENDING


# --- Recording outcomes


def test_an_outcome_that_cannot_be_recorded_leaves_the_payment_pending(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch, log_lines: Any
) -> None:
    def unavailable(*_: object) -> bool:
        raise ServiceUnavailable("down")

    monkeypatch.setattr(site.ledger, "write", unavailable)
    assert site.pay().status == P.PENDING
    assert clock.now >= START + ELECTION
    (line,) = [line for line in log_lines() if line["message"] == "payment outcome not recorded"]
    assert (line["transaction_id"], line["level"]) == (TXN, "warning")


def test_an_outcome_with_an_unacknowledged_write_is_recorded_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, failures = site.ledger.write, [Unacknowledged("lost")]

    def lose_one(before: Payment, after: Payment) -> bool:
        stored = write(before, after)
        if failures:
            raise failures.pop()
        return stored

    monkeypatch.setattr(site.ledger, "write", lose_one)
    paid = site.pay()
    assert statuses(paid) == [("pending", Actor.API), ("completed", Actor.API)]
    assert event_types(site.stored()) == ["payment.success"]


def test_an_outcome_recorded_first_by_a_webhook_is_kept(site: Site) -> None:
    site.gateway.outcome = Unknown("timeout")
    seen = site.pay()
    site.payments.settle_by(seen, site.fact(Charged("pi_1")), Actor.WEBHOOK)
    late = site.payments.record(seen, Declined(declines.FUNDS), Actor.API)
    assert late == site.stored()
    assert late.status == P.COMPLETED
    assert site.payments.record(seen, Unknown("timeout"), Actor.API).status == P.COMPLETED


def test_an_unknown_outcome_is_logged_with_its_reason(site: Site, log_lines: Any) -> None:
    site.gateway.outcome = Unknown("read timeout")
    site.pay()
    (line,) = [line for line in log_lines() if line["message"] == "payment outcome unknown"]
    assert (line["level"], line["transaction_id"]) == ("warning", TXN)
    assert (line["reason"], line["actor"]) == ("read timeout", "api")


# --- Canceled or replaced


def cancel_order(**changes: Any) -> CancelOrder:
    return replace(CancelOrder(TXN, "BOOK-1", "user_1", "changed their mind"), **changes)


def test_a_payment_that_waits_for_its_customer_can_be_canceled(site: Site) -> None:
    waiting(site)
    site.gateway.after_cancel = site.fact(REQUESTED)
    canceled = site.payments.cancel(cancel_order())
    assert site.gateway.requested[-1] == ("cancel", "pi_1", False)
    assert (canceled.status, event_types(canceled)) == (P.CANCELED, ["payment.canceled"])
    assert canceled.history[-1].note == "changed their mind"
    assert statuses(canceled)[-1] == ("canceled", Actor.API)
    site.gateway.outcome = Charged("pi_2")
    assert site.pay("TXN-2").status == P.COMPLETED, "the booking is free"
    assert site.payments.cancel(cancel_order()) == canceled, "repeated"


@pytest.mark.parametrize("actor", [Actor.API, Actor.WEBHOOK, Actor.RECOVERY])
def test_a_requested_cancellation_that_another_process_records_first_is_a_cancellation(
    site: Site, monkeypatch: pytest.MonkeyPatch, actor: Actor
) -> None:
    waiting(site)

    def cancel(gateway_id: str, *, abandoned: bool) -> GatewayPayment:
        fact = site.fact(REQUESTED)
        site.payments.settle_by(site.stored(), fact, actor)
        return fact

    monkeypatch.setattr(site.gateway, "cancel", cancel)
    canceled = site.payments.cancel(cancel_order())
    assert (canceled.status, event_types(canceled)) == (P.CANCELED, ["payment.canceled"])
    assert statuses(canceled)[-1] == ("canceled", actor)
    assert canceled.error_code is None


def test_a_charge_before_the_cancellation_is_recorded(site: Site) -> None:
    waiting(site)
    site.gateway.after_cancel = site.fact(Charged("pi_1"))
    with pytest.raises(CancelNotAllowed, match="its status is completed") as refused:
        site.payments.cancel(cancel_order())
    assert refused.value.details == {"transaction_id": TXN, "status": "completed"}
    assert site.stored().status == P.COMPLETED


@pytest.mark.parametrize("outcome", [Charged("pi_1"), Unknown("timeout"), Declined(declines.FUNDS, "pi_1")])
def test_only_a_payment_that_requires_action_can_be_canceled(site: Site, outcome: PaymentOutcome) -> None:
    site.gateway.outcome = outcome
    site.pay()
    with pytest.raises(CancelNotAllowed):
        site.payments.cancel(cancel_order())
    assert [what[0] for what in site.gateway.requested] == ["charge"]


@pytest.mark.parametrize(
    "changes", [{"booking_id": "BOOK-2"}, {"user_id": "user_2"}, {"transaction_id": "TXN-9"}]
)
def test_another_users_payment_cannot_be_canceled(site: Site, changes: dict[str, str]) -> None:
    waiting(site)
    with pytest.raises(TransactionNotFound, match=r"^No transaction has this id\.$") as refused:
        site.payments.cancel(cancel_order(**changes))
    assert refused.value.details == {"transaction_id": changes.get("transaction_id", TXN)}
    assert site.stored().status == P.REQUIRES_ACTION


def test_a_cancellation_of_another_deployments_payment_changes_nothing(site: Site) -> None:
    waiting(site)
    foreign = site.fact(Canceled("pi_1", declines.NOT_CONFIRMED), namespace="other.")
    site.gateway.after_cancel = foreign
    with pytest.raises(CancelNotAllowed):
        site.payments.cancel(cancel_order())
    assert site.stored().status == P.REQUIRES_ACTION


def test_replace_open_replaces_an_open_payment_of_the_same_user(site: Site) -> None:
    waiting(site)
    site.gateway.after_cancel = site.fact(REQUESTED)
    site.gateway.outcome = Charged("pi_2")
    assert site.pay("TXN-2", replace_open=True).status == P.COMPLETED
    first = site.stored()
    assert (first.status, first.history[-1].note) == (P.CANCELED, "replaced by another payment")


@pytest.mark.parametrize("case", ["another user", "not asked", "charged meanwhile", "completed", "pending"])
def test_an_open_payment_is_not_replaced_otherwise(site: Site, case: str) -> None:
    outcomes: dict[str, PaymentOutcome] = {"completed": Charged("pi_1"), "pending": Unknown("timeout")}
    site.gateway.outcome = outcomes.get(case, ACTION)
    site.pay()
    charged = case == "charged meanwhile"
    site.gateway.after_cancel = site.fact(Charged("pi_1") if charged else Canceled("pi_1", declines.GENERIC))
    user = "user_2" if case == "another user" else "user_1"
    with pytest.raises(DuplicateTransaction) as refused:
        site.pay("TXN-2", replace_open=case != "not asked", user_id=user)
    assert refused.value.details["transaction_id"] == TXN
    assert site.stored().status != P.CANCELED
    assert ("cancel" in {what[0] for what in site.gateway.requested}) is charged


def test_a_booking_that_is_taken_repeatedly_is_refused_after_three_replacements(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting(site)
    tried: list[object] = []
    monkeypatch.setattr(site.payments, "_replace", lambda *arguments: tried.append(arguments))
    with pytest.raises(DuplicateTransaction):
        site.pay("TXN-2", replace_open=True)
    assert len(tried) == 3


def test_a_replacement_is_retried_if_the_open_payment_was_closed_meanwhile(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert, taken = site.ledger.insert, [1]

    def taken_once(payment: Payment) -> None:
        if taken:
            taken.pop()
            raise DuplicateTransaction("This booking already has a payment.", booking_id="BOOK-1")
        insert(payment)

    monkeypatch.setattr(site.ledger, "insert", taken_once)
    assert site.pay(replace_open=True).status == P.COMPLETED


def test_an_illegal_transition_names_the_statuses(site: Site) -> None:
    paid = site.pay()
    with pytest.raises(changes.IllegalMove, match=r"^TXN-1 is completed and can't become failed$"):
        changes.failed(paid, declines.FUNDS, None, actor=Actor.API, now=START)
