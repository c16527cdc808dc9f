"""The simulator as the real stripe SDK sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from tests.support.servers import StripeServer
from tests.support.wait import wait_for

SECRET = "whsec_test"


class Receiver:
    """A webhook endpoint that keeps what it gets, and refuses while it is told to."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.refuse = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(500 if receiver.refuse else 200)
                self.end_headers()
                if not receiver.refuse:
                    receiver.events.append(
                        stripe.Webhook.construct_event(body, self.headers["Stripe-Signature"], SECRET)
                    )

            def log_message(self, *_: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[StripeServer]:
    class WithWebhooks(StripeServer):
        def command(self) -> list[str]:
            url = f"http://127.0.0.1:{receiver.server.server_port}/"
            return [*super().command(), "--webhook-url", url, "--webhook-secret", SECRET]

    server = WithWebhooks(tmp_path_factory.mktemp("stripe"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def client(server: StripeServer) -> Iterator[stripe.StripeClient]:
    yield sdk(server)
    requests.delete(f"{server.url}/_simulator/faults", timeout=5)


def sdk(server: StripeServer, timeout: float = 5, retries: int = 0) -> stripe.StripeClient:
    return stripe.StripeClient(
        "sk_test_x",
        base_addresses={"api": server.url},
        http_client=stripe.RequestsClient(timeout=timeout),
        max_network_retries=retries,
    )


def pay(client: stripe.StripeClient, method: str = "pm_card_visa", key: str = "", **params: Any) -> Any:
    params = {"amount": 5000, "currency": "usd", "confirm": True, "payment_method": method} | params
    return client.v1.payment_intents.create(params, {"idempotency_key": key} if key else {})


def fault(server: StripeServer, kind: str, **fields: Any) -> None:
    body = {"match": "POST /v1/payment_intents", "kind": kind} | fields
    requests.post(f"{server.url}/_simulator/faults", json=body, timeout=5).raise_for_status()


def test_a_payment_succeeds_with_card_details(client: stripe.StripeClient) -> None:
    intent = pay(client, "pm_card_amex", expand=["latest_charge"], metadata={"transaction_id": "TXN-1"})
    assert (intent.status, intent.amount_received) == ("succeeded", 5000)
    assert intent.latest_charge.payment_method_details.card.brand == "amex"
    assert client.v1.payment_intents.retrieve(intent.id).metadata["transaction_id"] == "TXN-1"


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", None),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", None),
    ],
)
def test_a_decline_is_a_card_error(
    client: stripe.StripeClient, method: str, code: str, decline_code: str | None
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        pay(client, method)
    assert declined.value.error is not None
    assert (declined.value.code, declined.value.error.decline_code) == (code, decline_code)
    assert declined.value.error.payment_intent.status == "requires_payment_method"


def test_the_same_key_replays_and_other_params_are_refused(client: stripe.StripeClient) -> None:
    first, again = pay(client, key="k1"), pay(client, key="k1")
    assert again.id == first.id
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.IdempotencyError):
        pay(client, key="k1", amount=6000)


def test_a_decline_is_replayed_but_a_refused_parameter_is_not(client: stripe.StripeClient) -> None:
    for _ in range(2):
        with pytest.raises(stripe.CardError):
            pay(client, "pm_card_visa_chargeDeclined", key="k2")
    with pytest.raises(stripe.InvalidRequestError, match="minimum"):
        pay(client, key="k3", amount=1)
    assert pay(client, key="k3").status == "succeeded"


def test_a_key_is_forgotten_after_a_day(client: stripe.StripeClient, server: StripeServer) -> None:
    first = pay(client, key="k4")
    requests.post(f"{server.url}/_simulator/clock", json={"advance_seconds": 86_401}, timeout=5)
    assert pay(client, key="k4").id != first.id


def test_three_d_secure_waits_and_then_succeeds_or_fails(
    client: stripe.StripeClient, server: StripeServer
) -> None:
    for outcome, status in (("succeed", "succeeded"), ("fail", "requires_payment_method")):
        intent = pay(client, "pm_card_authenticationRequired")
        assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
        url = f"{server.url}/_simulator/payment_intents/{intent.id}/authenticate"
        requests.post(url, json={"outcome": outcome}, timeout=5).raise_for_status()
        assert client.v1.payment_intents.retrieve(intent.id).status == status


def test_paypal_sends_the_customer_away_and_back(client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create(
        {
            "amount": 5000,
            "currency": "usd",
            "confirm": True,
            "payment_method_types": ["paypal"],
            "payment_method_data": {"type": "paypal"},
            "return_url": "https://shop.example.com/done?a=1",
        }
    )
    page = intent.next_action.redirect_to_url.url
    assert "Confirm your payment" in requests.get(page, timeout=5).text
    back = requests.post(page, data={"outcome": "succeed"}, allow_redirects=False, timeout=5)
    assert back.headers["Location"].startswith("https://shop.example.com/done?a=1&payment_intent=pi_")
    assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_refunds_at_once_never_exceed_the_charge(client: stripe.StripeClient, server: StripeServer) -> None:
    intent = pay(client)

    def refund(_: int) -> str:
        try:
            return str(sdk(server).v1.refunds.create({"payment_intent": intent.id, "amount": 1000}).status)
        except stripe.InvalidRequestError:
            return "refused"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(refund, range(20)))
    assert outcomes.count("succeeded") == 5
    assert outcomes.count("refused") == 15


def test_faults_are_what_the_sdk_sees(client: stripe.StripeClient, server: StripeServer) -> None:
    fault(server, "error", status=500)
    with pytest.raises(stripe.APIError):
        pay(client)
    fault(server, "error", status=429)
    with pytest.raises(stripe.RateLimitError):
        pay(client)
    fault(server, "malformed")
    with pytest.raises(stripe.APIError):
        pay(client)
    fault(server, "delay", seconds=1)
    with pytest.raises(stripe.APIConnectionError):
        pay(sdk(server, timeout=0.2))


def test_a_dropped_connection_charges_before_but_not_after(
    client: stripe.StripeClient, server: StripeServer
) -> None:
    fault(server, "drop_before")
    with pytest.raises(stripe.APIConnectionError):
        pay(client, key="before")
    fault(server, "drop_after")
    with pytest.raises(stripe.APIConnectionError):
        pay(client, key="after")
    assert "Idempotent-Replayed" not in pay(client, key="before").last_response.headers
    assert pay(client, key="after").last_response.headers["Idempotent-Replayed"] == "true"


def test_a_fault_that_is_none_is_refused(server: StripeServer) -> None:
    answer = requests.post(f"{server.url}/_simulator/faults", json={"match": "/", "kind": "x"}, timeout=5)
    assert answer.status_code == 400


def test_webhooks_are_signed_and_come_when_the_receiver_is_back(
    client: stripe.StripeClient, receiver: Receiver
) -> None:
    receiver.refuse = True
    intent = pay(client)
    receiver.refuse = False

    def delivered() -> list[str]:
        return [event.type for event in receiver.events if event.data.object.id == intent.id]

    wait_for(delivered, 10, "no webhook came")
    assert delivered() == ["payment_intent.succeeded"]


def test_without_a_key_nothing_is_answered(server: StripeServer) -> None:
    assert requests.get(f"{server.url}/v1/payment_intents", timeout=5).status_code == 401


def test_a_kill_forgets_nothing(tmp_path: Path) -> None:
    server = StripeServer(tmp_path)
    server.start()
    intent = pay(sdk(server), key="k5")
    server.kill()
    server.start()
    assert pay(sdk(server), key="k5").id == intent.id
    assert [found.id for found in sdk(server).v1.payment_intents.list().data] == [intent.id]
    server.stop()
