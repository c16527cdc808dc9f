"""Faults on demand."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from tests.support.stripe_process import Receiver, Simulator, pay, refund, sdk
from tests.support.wait import wait_for


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"status": 429}, stripe.RateLimitError),
        ({"status": 429, "code": "lock_timeout"}, stripe.RateLimitError),
        ({"status": 409}, stripe.APIError),
        ({"status": 502, "stored": False}, stripe.APIError),
    ],
)
def test_rate_limits_conflicts_and_proxy_errors_are_not_stored(
    client: stripe.StripeClient, simulator: Simulator, fields: dict[str, Any], error: type[stripe.StripeError]
) -> None:
    key = "-".join(map(str, fields.values()))
    simulator.fault("error", times=2, **fields)
    for _ in range(2):
        with pytest.raises(error) as failed:
            pay(client, key=key, metadata={"transaction_id": f"TXN-{key}"})
        assert failed.value.http_status == fields["status"]
        # The SDK's RateLimitError has no code.
        code = failed.value.error and getattr(failed.value.error, "code", None)
        headers = failed.value.headers or {}
        assert ("Stripe-Rate-Limited-Reason" in headers) == (code == "rate_limit")
    assert code == fields.get("code", code)
    assert simulator.charges_of(f"TXN-{key}") == []
    assert pay(client, key=key, metadata={"transaction_id": f"TXN-{key}"}).status == "succeeded"


@pytest.mark.parametrize(("after", "charges"), [(False, 0), (True, 1)], ids=["not-charged", "charged"])
def test_a_500_is_stored_for_its_key_whether_or_not_the_charge_was_made(
    client: stripe.StripeClient, simulator: Simulator, after: bool, charges: int
) -> None:
    simulator.fault("error", status=500, after=after)
    transaction = f"TXN-stored-{after}"
    replayed = []
    for _ in range(3):
        with pytest.raises(stripe.APIError) as failed:
            pay(client, key=transaction, metadata={"transaction_id": transaction})
        assert failed.value.http_status == 500
        replayed.append((failed.value.headers or {}).get("Idempotent-Replayed"))
    assert replayed == [None, "true", "true"]
    assert len(simulator.charges_of(transaction)) == charges
    intents = client.v1.payment_intents.list({"limit": 20}).data
    assert len([each for each in intents if each.metadata["transaction_id"] == transaction]) == charges


def test_a_dropped_connection_charges_before_but_not_after(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    for kind, charged in (("drop_before", 0), ("drop_after", 1)):
        simulator.fault(kind)
        with pytest.raises(stripe.APIConnectionError) as dropped:
            pay(client, key=kind, metadata={"transaction_id": f"TXN-{kind}"})
        assert "timed out" not in str(dropped.value).lower(), "a dropped connection is seen at once"
        assert len(simulator.charges_of(f"TXN-{kind}")) == charged
        again = pay(client, key=kind, metadata={"transaction_id": f"TXN-{kind}"})
        assert again.last_response.headers.get("Idempotent-Replayed") == ("true" if charged else None)
        assert len(simulator.charges_of(f"TXN-{kind}")) == 1


def test_responses_can_be_late_or_not_json(client: stripe.StripeClient, simulator: Simulator) -> None:
    simulator.fault("delay", seconds=60)
    with pytest.raises(stripe.APIConnectionError):
        pay(sdk(simulator, timeout=2), key="late", metadata={"transaction_id": "TXN-late"})
    assert pay(client, key="late", metadata={"transaction_id": "TXN-late"}).status == "succeeded"
    assert len(simulator.charges_of("TXN-late")) == 1
    simulator.fault("malformed")
    with pytest.raises(stripe.APIError):
        pay(client)


def test_a_fault_affects_matching_requests_until_it_is_cleared(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    simulator.fault("error", match="POST /v1/refunds", status=503, times=0)
    intent = pay(client)
    for _ in range(3):
        with pytest.raises(stripe.APIError):
            refund(client, intent)
    requests.delete(f"{simulator.url}/_simulator/faults", timeout=5)
    assert refund(client, intent).status == "succeeded"


@pytest.mark.parametrize(
    ("outcome", "status", "code", "event"),
    [
        ("succeed", "succeeded", None, "payment_intent.succeeded"),
        ("fail", "requires_payment_method", "card_declined", "payment_intent.payment_failed"),
    ],
)
def test_a_payment_may_be_processing_for_a_while(
    client: stripe.StripeClient,
    simulator: Simulator,
    receiver: Receiver,
    outcome: str,
    status: str,
    code: str | None,
    event: str,
) -> None:
    simulator.fault("pending")
    intent = pay(client, key=f"processing-{outcome}")
    assert (intent.status, intent.latest_charge, intent.amount_received) == ("processing", None, 0)
    simulator.control(f"payment_intents/{intent.id}/authenticate", outcome=outcome)
    later: Any = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert (later.status, later.last_payment_error and later.last_payment_error.code) == (status, code)
    assert later.latest_charge.paid == (outcome == "succeed")
    expected = sorted(["payment_intent.processing", event])
    wait_for(lambda: receiver.types(intent.id) == expected, 5, lambda: str(receiver.types(intent.id)))


def test_events_of_an_action_or_request_can_be_omitted(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver
) -> None:
    simulator.fault("none", webhook=False)
    silent = pay(client)
    simulator.fault("pending", match="POST /v1/refunds")
    refunded = refund(client, silent)
    simulator.control(f"refunds/{refunded.id}/succeed", webhook=False)
    loud = pay(client)
    wait_for(lambda: receiver.types(loud.id) and receiver.types(refunded.id), 5, "no webhook came")
    assert (receiver.types(silent.id), receiver.types(refunded.id)) == ([], ["refund.created"])
    recorded = client.v1.events.list({"limit": 10}).data
    assert {event.pending_webhooks for event in recorded if event.data.object["id"] == silent.id} == {0}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"match": "POST /v1", "kind": "fire"}, "kind"),
        ({"kind": "delay"}, "match"),
        ({"match": "everything", "kind": "delay"}, "match"),
        ({"match": "POST /v1", "kind": "delay", "seconds": -1}, "seconds"),
        ({"match": "POST /v1", "kind": "error", "status": "500"}, "status"),
        ({"match": "POST /v1", "kind": "error", "times": True}, "times"),
        ({"match": "POST /v1", "kind": "error", "often": 2}, "often"),
        ([], "JSON object"),
    ],
)
def test_an_invalid_fault_is_refused_by_name(simulator: Simulator, body: Any, named: str) -> None:
    response = requests.post(f"{simulator.url}/_simulator/faults", json=body, timeout=5)
    assert response.status_code == 400
    assert named in response.json()["error"]["message"]
