"""A webhook triggers a lookup, and the gateway's current state is recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.errors import GatewayError
from app.gateway import (
    ActionRequired,
    Charged,
    Declined,
    DisputeChanged,
    FraudWarned,
    GatewayDispute,
    GatewayEvent,
    PaymentChanged,
    RefundChanged,
    Share,
    Unknown,
)
from app.payments.records import Dispute, Payment
from app.payments.states import Actor, PaymentStatus
from app.payments.webhooks import handle
from app.telemetry import metrics
from tests.unit.payments.conftest import START, TXN, Site, event_types, statuses

P = PaymentStatus


class Seen:
    """A webhook log in memory."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    def has_seen(self, event_id: str) -> bool:
        return event_id in self.ids

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        assert now == START
        self.ids.append(event.id)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def event(change: Any, event_id: str = "evt_1", kind: str = "payment_intent.succeeded") -> GatewayEvent:
    return GatewayEvent(event_id, kind, False, START - timedelta(seconds=3), change)


def changed(gateway_id: str = "pi_1", transaction_id: str | None = TXN) -> PaymentChanged:
    return PaymentChanged(gateway_id, transaction_id, "")


def requested(site: Site) -> list[tuple[object, ...]]:
    return [what for what in site.gateway.requested if what[0] != "charge"]


@pytest.fixture
def pending(site: Site) -> Payment:
    """A payment whose response was lost; the gateway charged it as pi_1."""
    site.gateway.outcome = Unknown("timeout")
    payment = site.pay()
    site.fact(Charged("pi_1", "visa", "4242"))
    site.gateway.shares.clear()
    return payment


@pytest.fixture
def paid(site: Site) -> Payment:
    payment = site.pay()
    site.fact(Charged("pi_1", "visa", "4242"))
    site.gateway.shares.clear()
    return payment


def webhooks_counted(kind: str, outcome: str) -> float:
    labels = {"type": kind, "result": outcome}
    return metrics._REGISTRY.get_sample_value("movieapp_webhooks_total", labels) or 0.0


def test_a_webhook_settles_the_payment_that_it_names(site: Site, pending: Payment, seen: Seen) -> None:
    assert handle(site.payments, event(changed()), seen)
    payment = site.stored()
    assert (payment.status, payment.gateway_id) == (P.COMPLETED, "pi_1")
    assert statuses(payment)[-1] == ("completed", Actor.WEBHOOK)
    assert (requested(site), site.gateway.shares) == ([("payment", "pi_1")], [Share.WEBHOOK])
    assert seen.ids == ["evt_1"]


def test_a_repeated_webhook_costs_nothing(site: Site, pending: Payment, seen: Seen) -> None:
    before = webhooks_counted("payment_intent.succeeded", "repeated")
    assert handle(site.payments, event(changed()), seen)
    assert not handle(site.payments, event(changed()), seen)
    assert len(requested(site)) == 1
    assert webhooks_counted("payment_intent.succeeded", "repeated") == before + 1


def test_a_webhook_without_our_id_looks_it_up_at_the_gateway(
    site: Site, pending: Payment, seen: Seen
) -> None:
    handle(site.payments, event(changed(transaction_id=None)), seen)
    assert site.stored().status == P.COMPLETED
    assert site.gateway.shares == [Share.WEBHOOK] * 2


@pytest.mark.parametrize("transaction_id", [None, "TXN-9"])
def test_a_webhook_about_a_payment_that_is_not_ours_changes_nothing(
    site: Site, seen: Seen, log_lines: Any, transaction_id: str | None
) -> None:
    site.fact(Charged("pi_9"), "pi_9", transaction_id=None)
    assert handle(site.payments, event(changed("pi_9", transaction_id)), seen)
    assert site.ledger.find(TXN) is None
    (line,) = [line for line in log_lines() if line["message"].startswith("webhook about a payment")]
    assert (line["message"], line["gateway_id"]) == ("webhook about a payment that is not ours", "pi_9")


def test_a_webhook_about_a_payment_unknown_to_the_gateway_is_logged(
    site: Site, pending: Payment, seen: Seen, log_lines: Any
) -> None:
    site.gateway.payments_there.clear()
    assert handle(site.payments, event(changed()), seen)
    assert site.stored() == pending
    assert "webhook about a payment unknown to the gateway" in [line["message"] for line in log_lines()]


def test_a_webhook_of_another_intent_that_names_our_payment_changes_nothing(
    site: Site, pending: Payment, seen: Seen
) -> None:
    site.fact(Charged("pi_2"), "pi_2", amount=Decimal(50), currency="JPY")
    handle(site.payments, event(changed("pi_2")), seen)
    assert site.stored() == pending


def test_a_paid_payment_is_not_looked_up_again(site: Site, paid: Payment, seen: Seen) -> None:
    handle(site.payments, event(changed()), seen)
    assert (requested(site), site.stored()) == ([], paid)


def test_a_second_charge_of_a_paid_payment_is_looked_up_and_rejected(
    site: Site, paid: Payment, seen: Seen, log_lines: Any
) -> None:
    site.fact(Charged("pi_2"), "pi_2")
    handle(site.payments, event(changed("pi_2")), seen)
    assert site.stored() == paid
    assert ("gateway payment does not match the record", "gateway_id") in [
        (line["message"], line.get("field")) for line in log_lines()
    ]


@pytest.mark.parametrize("trouble", ["slow", "down"])
def test_a_webhook_that_failed_is_processed_when_repeated(
    site: Site, pending: Payment, seen: Seen, trouble: str
) -> None:
    site.gateway.full = {Share.WEBHOOK} if trouble == "slow" else set()
    site.gateway.down = trouble == "down"
    with pytest.raises(GatewayError):
        handle(site.payments, event(changed()), seen)
    assert seen.ids == []
    site.gateway.full, site.gateway.down = set(), False
    assert handle(site.payments, event(changed()), seen)
    assert site.stored().status == P.COMPLETED


def test_a_webhook_of_an_unknown_type_is_only_remembered(site: Site, seen: Seen) -> None:
    before = webhooks_counted("other", "new")
    assert handle(site.payments, event(None, kind="invoice.paid"), seen)
    assert (seen.ids, requested(site)) == (["evt_1"], [])
    assert webhooks_counted("other", "new") == before + 1


# --- Refunds


def test_a_refund_webhook_records_the_gateways_refunds(site: Site, paid: Payment, seen: Seen) -> None:
    site.refund_fact()
    handle(site.payments, event(RefundChanged("pi_1", "re_1")), seen)
    payment = site.stored()
    assert (payment.status, payment.amount_refunded) == (P.PARTIALLY_REFUNDED, Decimal(10))
    assert statuses(payment)[-1] == ("partially_refunded", Actor.WEBHOOK)
    assert requested(site) == [("refunds", "pi_1", None, None)]
    assert site.gateway.shares == [Share.WEBHOOK]


def test_a_refund_webhook_settles_the_payment_first(site: Site, pending: Payment, seen: Seen) -> None:
    site.refund_fact()
    handle(site.payments, event(RefundChanged("pi_1", None)), seen)
    payment = site.stored()
    assert [status for status, _ in statuses(payment)] == ["pending", "completed", "partially_refunded"]


@pytest.mark.parametrize("change", [RefundChanged(None, "re_1"), RefundChanged("pi_9", "re_1")])
def test_a_refund_webhook_about_no_payment_of_ours_changes_nothing(
    site: Site, paid: Payment, seen: Seen, change: RefundChanged
) -> None:
    handle(site.payments, event(change), seen)
    assert site.stored() == paid
    assert ("refunds", "pi_1", None, None) not in requested(site)


# --- Disputes and warnings


def dispute(status: str = "needs_response", **changes: Any) -> DisputeChanged:
    created = GatewayDispute("dp_1", "pi_1", status, Decimal(25), "USD", "fraudulent", START, START)
    return DisputeChanged(replace(created, **changes))


@pytest.mark.parametrize("status", ["needs_response", "won", "warning_closed"])
def test_a_dispute_is_recorded_with_the_time_of_its_webhook(
    site: Site, paid: Payment, seen: Seen, status: str
) -> None:
    handle(site.payments, event(dispute(status)), seen)
    payment = site.stored()
    as_of = START - timedelta(seconds=3)
    assert payment.disputes == (Dispute("dp_1", status, as_of, "fraudulent", Decimal(25), START),)
    assert event_types(payment) == ["payment.success", "payment.disputed"]


def test_a_dispute_webhook_settles_the_payment_first(site: Site, pending: Payment, seen: Seen) -> None:
    handle(site.payments, event(dispute()), seen)
    assert (site.stored().status, len(site.stored().disputes)) == (P.COMPLETED, 1)


@pytest.mark.parametrize("gateway_id", [None, "pi_9"])
def test_a_dispute_about_no_payment_of_ours_changes_nothing(
    site: Site, paid: Payment, seen: Seen, gateway_id: str | None
) -> None:
    handle(site.payments, event(dispute(payment_gateway_id=gateway_id)), seen)
    assert site.stored() == paid


def test_a_dispute_about_a_foreign_charge_with_our_id_is_not_recorded(
    site: Site, pending: Payment, seen: Seen
) -> None:
    site.fact(Charged("pi_2"), "pi_2", amount=Decimal(99))
    handle(site.payments, event(dispute(payment_gateway_id="pi_2")), seen)
    assert site.stored().disputes == ()


def test_a_fraud_warning_is_recorded_and_logged_once(
    site: Site, paid: Payment, seen: Seen, log_lines: Any
) -> None:
    handle(site.payments, event(FraudWarned("pi_1", "misc")), seen)
    (line,) = [line for line in log_lines() if line["message"] == "early fraud warning"]
    assert (line["level"], line["transaction_id"]) == ("warning", TXN)
    assert (line["gateway_id"], line["reason"]) == ("pi_1", "misc")
    warned = site.stored()
    assert (warned.status, warned.fraud_warning) == (paid.status, "misc")
    assert (warned.history[-1].status, warned.history[-1].note) == ("fraud_warning", "misc")
    for number, about in enumerate((None, "pi_1"), 2):
        handle(site.payments, event(FraudWarned(about, "other"), f"evt_{number}"), seen)
    assert site.stored() == warned


# --- Stray charges


def test_a_charge_of_a_failed_payment_is_refunded(site: Site, seen: Seen) -> None:
    site.with_settings(refund_stray_charges=True)
    site.gateway.outcome = Declined(declines.FUNDS, "pi_1")
    site.pay()
    site.fact(Charged("pi_1"))
    handle(site.payments, event(changed()), seen)
    payment = site.stored()
    assert (payment.status, payment.amount_refunded) == (P.REFUNDED, Decimal(25))
    assert ("charged_although_failed", Actor.WEBHOOK) in statuses(payment)


def test_a_webhook_about_a_payment_that_waits_for_its_customer_changes_nothing(
    site: Site, seen: Seen
) -> None:
    action = ActionRequired("pi_1", "secret")
    site.gateway.outcome = action
    payment = site.pay()
    site.fact(action)
    handle(site.payments, event(changed(), kind="payment_intent.requires_action"), seen)
    assert site.stored() == payment
