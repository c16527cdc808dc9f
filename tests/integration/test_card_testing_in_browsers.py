"""Cards that are declined after the response: in the Payment Element or at 3-D Secure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from app import create_app
from app.models import Transaction
from app.payments.outbox import Relay
from app.services import EXTENSION
from tests.support.stripe import deliver, webhook

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

SECRET = "whsec_tests"
NO_FUNDS, GOOD, ASKS = (
    "pm_card_visa_chargeDeclinedInsufficientFunds",
    "pm_card_visa",
    "pm_card_threeDSecure2Required",
)
#: Declines of one booking, user, or address in an hour, before it is locked out.
ALLOWED = 9
_numbers = itertools.count()


@pytest.fixture
def client(
    stored_settings: Settings, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    monkeypatch.setattr(Relay, "start", lambda _: None)
    secret = {"stripe_webhook_secret": SecretStr(SECRET)}
    return create_app(stored_settings.model_copy(update=stripe_simulator.settings | secret)).test_client()


@pytest.fixture
def failures(client: FlaskClient, stripe_simulator: StripeSimulator) -> Iterator[Any]:
    """Deliver the webhooks about failed attempts of a payment, as they are now; how many there are."""

    def deliver_failures(payment: dict[str, Any]) -> int:
        gateway_id = stored(payment).gateway_id
        events = [
            event
            for event in stripe_simulator.call("GET", "/v1/events?limit=100")["data"]
            if event["type"] == "payment_intent.payment_failed"
            and event["data"]["object"]["id"] == gateway_id
        ]
        for event in events:
            assert deliver(client, event, SECRET).status_code == 200
        return len(events)

    yield deliver_failures


def pay(client: FlaskClient, **fields: Any) -> TestResponse:
    number = next(_numbers)
    body = {"user_id": f"U-{number}", "booking_id": f"B-{number}", "amount": 25.5, "payment_method": "stripe"}
    return client.post("/payment/process", json=body | fields)


def element(client: FlaskClient, **fields: Any) -> dict[str, Any]:
    """An open payment: for Stripe's Payment Element, unless the fields say otherwise."""
    response = pay(client, **fields)
    assert (response.status_code, response.json["status"]) == (202, "requires_action")
    return response.get_json()  # type: ignore[no-any-return]


def stored(payment: dict[str, Any]) -> Transaction:
    found: Transaction = Transaction.objects.get(id=payment["transaction_id"])
    return found


def locked(client: FlaskClient) -> set[str]:
    """The kinds of what is locked out."""
    return {lock.kind for lock in client.application.extensions[EXTENSION].payments.attempts.locks()}


@pytest.mark.parametrize("same", [{"user_id": "mallory"}, {"customer_ip": "203.0.113.8"}], ids=str)
def test_a_tester_with_the_payment_element_is_locked_out(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any, same: dict[str, str]
) -> None:
    declined = 0
    while (response := pay(client, **same)).status_code == 202:
        stripe_simulator.confirm(response.json["client_secret"], NO_FUNDS)
        declined += failures(response.json)
    assert (response.status_code, declined) == (429, ALLOWED)
    assert pay(client).status_code == 202


def test_every_attempt_at_one_payment_counts_and_the_last_one_closes_it(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any
) -> None:
    payment = element(client, booking_id="B-M", user_id="mallory")
    for _ in range(ALLOWED - 1):
        stripe_simulator.confirm(payment["client_secret"], NO_FUNDS)
    assert failures(payment) == ALLOWED - 1
    assert (stored(payment).status, locked(client)) == ("requires_action", set())
    stripe_simulator.confirm(payment["client_secret"], NO_FUNDS)
    failures(payment)
    assert locked(client) == {"booking", "user"}
    # The browser still has the secret: without this, it could go on trying cards with it.
    assert stripe_simulator.intent(payment["transaction_id"])["status"] == "canceled"
    assert (stored(payment).status, stored(payment).error_code) == ("failed", "CARD_DECLINED")
    assert pay(client, booking_id="B-M").status_code == 429


def test_a_decline_counts_once_however_often_it_is_reported(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any
) -> None:
    payment = element(client, booking_id="B-M")
    for _ in range(ALLOWED - 1):
        stripe_simulator.confirm(payment["client_secret"], NO_FUNDS)
        failures(payment)
        intent = stripe_simulator.intent(payment["transaction_id"])
        # The same fact in another event, and in the lookup of a status read.
        deliver(client, webhook("payment_intent.payment_failed", intent), SECRET)
        client.get(f"/payment/status/{payment['transaction_id']}")
    assert locked(client) == set()


def test_a_decline_in_the_response_is_not_counted_again_by_its_webhook(
    client: FlaskClient, failures: Any
) -> None:
    for _ in range(ALLOWED - 1):
        response = pay(client, user_id="mallory", payment_method="credit_card", payment_token=NO_FUNDS)
        assert response.status_code == 400
        assert failures(response.json) == 1
    assert locked(client) == set()
    assert pay(client, user_id="mallory", payment_token=NO_FUNDS).status_code == 400
    assert locked(client) == {"user"}


@pytest.mark.parametrize("outcome", ["decline", "fail"])
def test_a_card_that_fails_at_3d_secure_counts(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any, outcome: str
) -> None:
    for _ in range(ALLOWED):
        payment = element(client, user_id="mallory", payment_token=ASKS)
        stripe_simulator.control(
            f"payment_intents/{stored(payment).gateway_id}/authenticate", outcome=outcome
        )
        # Reported by the status read alone, as if no webhook came.
        assert client.get(f"/payment/status/{payment['transaction_id']}").json["status"] == "failed"
    assert locked(client) == {"user"}


def test_a_decline_that_became_known_later_counts_for_its_card(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any
) -> None:
    for _ in range(12):
        payment = element(client)
        stripe_simulator.confirm(payment["client_secret"], NO_FUNDS)
        failures(payment)
    assert locked(client) == {"card"}


def test_a_customer_who_pays_in_the_end_gets_a_decline_back(
    client: FlaskClient, stripe_simulator: StripeSimulator, failures: Any
) -> None:
    for _ in range(ALLOWED + 1):
        payment = element(client, user_id="jane", customer_ip="198.51.100.7")
        stripe_simulator.confirm(payment["client_secret"], NO_FUNDS)
        failures(payment)
        stripe_simulator.confirm(payment["client_secret"], GOOD)
        intent = stripe_simulator.intent(payment["transaction_id"])
        for _ in range(2):
            deliver(client, webhook("payment_intent.succeeded", intent), SECRET)
        assert stored(payment).status == "completed"
    assert "user" not in locked(client)
    assert "ip" not in locked(client)


def test_an_abandoned_payment_is_not_a_decline(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    for _ in range(2 * ALLOWED):
        payment = element(client, user_id="jane")
        stripe_simulator.call("POST", f"/v1/payment_intents/{stored(payment).gateway_id}/cancel")
        intent = stripe_simulator.intent(payment["transaction_id"])
        deliver(client, webhook("payment_intent.canceled", intent), SECRET)
        assert stored(payment).status == "failed"
    assert locked(client) == set()
