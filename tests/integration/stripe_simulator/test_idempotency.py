"""Idempotency keys, as Stripe documents them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.integration.stripe_simulator.conftest import Start
from tests.support.stripe_process import Simulator, pay, sdk


def test_the_same_key_replays_the_first_response(client: stripe.StripeClient) -> None:
    first, again = pay(client, key="k1"), pay(client, key="k1")
    assert again.last_response.body == first.last_response.body
    headers = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert headers["Request-Id"] != first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers


def test_the_same_key_with_another_request_is_refused(client: stripe.StripeClient) -> None:
    intent = pay(client, key="k2")
    with pytest.raises(stripe.IdempotencyError):
        pay(client, key="k2", amount=6000)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.refunds.create({"payment_intent": intent.id}, {"idempotency_key": "k2"})
    with pytest.raises(stripe.InvalidRequestError):
        pay(client, key="k" * 256)


def test_a_key_belongs_to_one_api_key(client: stripe.StripeClient, simulator: Simulator) -> None:
    assert pay(client, key="k3").id != pay(sdk(simulator, key="sk_test_y"), key="k3").id


def test_executed_requests_are_replayed_and_refused_ones_are_not(client: stripe.StripeClient) -> None:
    declines = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            pay(client, "pm_card_visa_chargeDeclined", key="k4")
        declines.append(declined.value)
    assert declines[0].http_body == declines[1].http_body
    assert declines[1].headers
    assert declines[1].headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.InvalidRequestError):
        pay(client, key="k5", amount=1)
    assert pay(client, key="k5").status == "succeeded"


def test_a_key_in_use_is_a_conflict(simulator: Simulator) -> None:
    simulator.fault("delay", seconds=3, before=True)

    def attempt(_: int) -> Any:
        try:
            return pay(sdk(simulator), key="k6", metadata={"transaction_id": "TXN-k6"}).status
        except stripe.APIError as error:
            return (error.http_status, error.error and error.error.code)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert set(outcomes) == {"succeeded", (409, "idempotency_key_in_use")}
    assert attempt(4) == "succeeded"
    assert len(simulator.charges_of("TXN-k6")) == 1


def test_the_sdk_retries_a_conflict_until_it_gets_the_response(simulator: Simulator) -> None:
    simulator.fault("delay", seconds=2.5, before=True)
    patient = sdk(simulator, timeout=1.5, retries=5)
    assert pay(patient, key="k7", metadata={"transaction_id": "TXN-k7"}).status == "succeeded"
    assert len(simulator.charges_of("TXN-k7")) == 1


def test_a_key_expires_after_a_day(start: Start) -> None:
    simulator = start()
    client = sdk(simulator)
    first = pay(client, key="k8")
    simulator.control("clock", advance_seconds=86_000)
    assert pay(client, key="k8").id == first.id
    simulator.control("clock", advance_seconds=401)
    later = pay(client, key="k8")
    assert later.id != first.id
    assert later.created - first.created >= 86_400
