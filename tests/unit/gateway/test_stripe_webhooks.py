"""Webhooks: verified, then read as changes."""

import json
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.gateway import (
    HANDLED_EVENTS,
    BadWebhook,
    DisputeChanged,
    FraudWarned,
    GatewayChange,
    GatewayDispute,
    GatewayEvent,
    PaymentChanged,
    RefundChanged,
)
from app.gateway.stripe.webhooks import read_webhook
from devtools.stripe_simulator.webhooks import signature

SECRET = "whsec_1"
CREATED = 1_764_613_802
CREATED_AT = datetime(2025, 12, 1, 18, 30, 2, tzinfo=UTC)

INTENT = {"id": "pi_1", "metadata": {"transaction_id": "TXN-1", "namespace": "shop"}}
CHARGE = {"id": "ch_1", "payment_intent": "pi_1"}
REFUND = {"id": "re_1", "payment_intent": "pi_1"}
DISPUTE = {
    "id": "dp_1",
    "payment_intent": "pi_1",
    "status": "needs_response",
    "amount": 5000,
    "currency": "usd",
    "reason": "fraudulent",
    "evidence_details": {"due_by": CREATED},
    "created": CREATED,
}
WARNING = {"id": "issfr_1", "charge": "ch_1", "payment_intent": "pi_1", "fraud_type": "made_with_stolen_card"}

PAYMENT_CHANGED = PaymentChanged("pi_1", "TXN-1", "shop")
DISPUTE_CHANGED = DisputeChanged(
    GatewayDispute(
        "dp_1", "pi_1", "needs_response", Decimal("50.00"), "USD", "fraudulent", CREATED_AT, CREATED_AT
    )
)
CHANGES: dict[str, tuple[dict[str, Any], GatewayChange]] = {
    "payment_intent.succeeded": (INTENT, PAYMENT_CHANGED),
    "payment_intent.payment_failed": (INTENT, PAYMENT_CHANGED),
    "payment_intent.canceled": (INTENT, PAYMENT_CHANGED),
    "payment_intent.processing": (INTENT, PAYMENT_CHANGED),
    "payment_intent.requires_action": (INTENT, PAYMENT_CHANGED),
    "charge.refunded": (CHARGE, RefundChanged("pi_1", None)),
    "charge.refund.updated": (REFUND, RefundChanged("pi_1", "re_1")),
    "refund.created": (REFUND, RefundChanged("pi_1", "re_1")),
    "refund.updated": (REFUND, RefundChanged("pi_1", "re_1")),
    "refund.failed": (REFUND, RefundChanged("pi_1", "re_1")),
    "charge.dispute.created": (DISPUTE, DISPUTE_CHANGED),
    "charge.dispute.updated": (DISPUTE, DISPUTE_CHANGED),
    "charge.dispute.funds_withdrawn": (DISPUTE, DISPUTE_CHANGED),
    "charge.dispute.funds_reinstated": (DISPUTE, DISPUTE_CHANGED),
    "charge.dispute.closed": (DISPUTE, DISPUTE_CHANGED),
    "radar.early_fraud_warning.created": (WARNING, FraudWarned("pi_1", "made_with_stolen_card")),
}


def event(kind: str = "payment_intent.succeeded", subject: Any = None, **fields: Any) -> dict[str, Any]:
    return {
        "id": "evt_1",
        "object": "event",
        "type": kind,
        "livemode": False,
        "created": CREATED,
        "data": {"object": INTENT if subject is None else subject},
    } | fields


def read(
    body: Any, *, secret: str = SECRET, secrets: tuple[str, ...] = (SECRET,), age: int = 0
) -> GatewayEvent:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_webhook(payload, signature(payload, secret, int(time.time()) - age), secrets)


def test_every_handled_type_is_in_the_table() -> None:
    assert set(CHANGES) == HANDLED_EVENTS


@pytest.mark.parametrize("kind", sorted(CHANGES))
def test_a_handled_event_says_what_changed(kind: str) -> None:
    subject, change = CHANGES[kind]
    assert read(event(kind, subject)) == GatewayEvent("evt_1", kind, False, CREATED_AT, change)


@pytest.mark.parametrize(
    ("subject", "change"),
    [
        ({"id": "pi_1", "metadata": {}}, PaymentChanged("pi_1", None, "")),
        ({"id": "pi_1", "metadata": {"transaction_id": "TXN-1"}}, PaymentChanged("pi_1", "TXN-1", "")),
        ({"id": "pi_1"}, PaymentChanged("pi_1", None, None)),
    ],
    ids=str,
)
def test_a_payment_without_a_namespace_is_read(subject: dict[str, Any], change: PaymentChanged) -> None:
    assert read(event(subject=subject)).change == change


def test_an_event_with_an_expanded_or_unknown_payment_is_read() -> None:
    assert read(event("refund.failed", REFUND | {"payment_intent": {"id": "pi_1"}})).change == RefundChanged(
        "pi_1", "re_1"
    )
    assert read(event("charge.refunded", {"id": "ch_1", "payment_intent": None})).change == RefundChanged(
        None, None
    )


@pytest.mark.parametrize("subject", [{}, {"id": "cus_1"}, []], ids=str)
def test_a_type_that_is_not_handled_changes_nothing(subject: Any) -> None:
    found = read(event("customer.created", subject, livemode=True))
    assert (found.type, found.live, found.change) == ("customer.created", True, None)


def test_a_thin_event_is_ignored_with_a_warning_that_gives_the_fix() -> None:
    thin: dict[str, Any] = {
        "id": "evt_thin_1",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "livemode": False,
        "created": "2025-12-01T18:30:02.000Z",
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/mtr_1"},
    }
    with capture_logs() as logs:
        found = read(thin)
    assert found == GatewayEvent("evt_thin_1", thin["type"], False, CREATED_AT, None)
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "snapshot payloads" in line["event"]
    assert line["webhook_id"] == "evt_thin_1"


def test_both_secrets_verify_during_a_rotation() -> None:
    for secret in ("whsec_old", "whsec_new"):
        assert read(event(), secret=secret, secrets=("whsec_old", "whsec_new")).id == "evt_1"


@pytest.mark.parametrize(("secrets", "age"), [(("whsec_other",), 0), ((), 0), ((SECRET,), 301)])
def test_a_wrong_signature_or_an_old_timestamp_is_refused(secrets: tuple[str, ...], age: int) -> None:
    with pytest.raises(BadWebhook, match="signature mismatch, or the timestamp is outside the tolerance"):
        read(event(), secrets=secrets, age=age)


@pytest.mark.parametrize("header", ["", "t=,v1=", "t=1", "v1=abc", "nonsense", "t=x,v1=y"])
def test_a_malformed_signature_is_refused(header: str) -> None:
    with pytest.raises(BadWebhook):
        read_webhook(json.dumps(event()).encode(), header, (SECRET,))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"not json",
        b"[]",
        b"null",
        b'"text"',
        {},
        event(data=None),
        event(data={}),
        event(created="yesterday"),
        event(created=10**30),
        {name: value for name, value in event().items() if name != "id"},
        {name: value for name, value in event().items() if name != "livemode"},
        event(subject={"metadata": {}}),
        event(subject=[]),
        event("charge.dispute.created", {"id": "dp_1"}),
        event("refund.failed", {"payment_intent": "pi_1"}),
    ],
    ids=str,
)
def test_a_signed_body_that_is_not_an_event_is_refused(body: Any) -> None:
    with pytest.raises(BadWebhook):
        read(body)


def test_a_body_changed_after_signing_is_refused() -> None:
    payload = json.dumps(event()).encode()
    header = signature(payload, SECRET, int(time.time()))
    with pytest.raises(BadWebhook, match="signature"):
        read_webhook(payload.replace(b"TXN-1", b"TXN-2"), header, (SECRET,))
