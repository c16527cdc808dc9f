"""The Stripe simulator as a separate process, and its clients: the real SDK and a webhook endpoint."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.support.servers import StripeServer
from tests.support.stripe import StripeSimulator

SECRET = "whsec_test"
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "737"}
PAYPAL = {
    "payment_method": None,
    "payment_method_types": ["paypal"],
    "payment_method_data": {"type": "paypal"},
    "return_url": "https://shop.example.com/done?a=1",
}


class Simulator(StripeServer):
    """A simulator process, with helpers for tests."""

    def __init__(self, directory: Path, webhook_port: int | None = None) -> None:
        super().__init__(directory)
        self._webhook_port = webhook_port

    def command(self) -> list[str]:
        webhooks = ["--webhook-url", f"http://127.0.0.1:{self._webhook_port}/", "--webhook-secret", SECRET]
        return [*super().command(), *(webhooks if self._webhook_port else [])]

    def control(self, path: str, **body: Any) -> Any:
        """POST to an endpoint that the real Stripe does not have."""
        return StripeSimulator(self.url).control(path, **body)

    def fault(self, kind: str, match: str = "POST /v1/payment_intents", **fields: Any) -> None:
        self.control("faults", match=match, kind=kind, **fields)

    def state(self) -> Any:
        return StripeSimulator(self.url).state()

    def charges_of(self, transaction_id: str) -> list[Any]:
        charges = self.state()["charges"]
        return [charge for charge in charges if charge["metadata"].get("transaction_id") == transaction_id]


class Receiver:
    """A webhook endpoint that stores correctly signed events, and refuses everything on demand."""

    def __init__(self, port: int) -> None:
        self.events: list[Any] = []
        self.refused = 0
        self.refuse = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event = stripe.Webhook.construct_event(body, self.headers["Stripe-Signature"], SECRET)
                if receiver.refuse:
                    receiver.refused += 1
                else:
                    receiver.events.append(event)
                self.send_response(500 if receiver.refuse else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.port = port
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def types(self, object_id: str) -> list[str]:
        """Return the types of the events about an object, in any order, because Stripe promises none."""
        return sorted(event.type for event in self.events if event.data.object["id"] == object_id)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def sdk(
    simulator: Simulator, timeout: float = 5, retries: int = 0, key: str = "sk_test_x"
) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": simulator.url},
        http_client=stripe.RequestsClient(timeout=timeout),
        max_network_retries=retries,
    )


def create(client: stripe.StripeClient, key: str = "", **params: Any) -> Any:
    expected: Any = {"amount": 5000, "currency": "usd", "payment_method_types": ["card"]} | params
    expected = {name: value for name, value in expected.items() if value is not None}
    return client.v1.payment_intents.create(expected, {"idempotency_key": key} if key else {})


def pay(client: stripe.StripeClient, method: str = "pm_card_visa", key: str = "", **params: Any) -> Any:
    return create(client, key, **({"confirm": True, "payment_method": method} | params))


def refund(client: stripe.StripeClient, intent: Any, **params: Any) -> Any:
    expected: Any = {"payment_intent": intent.id} | params
    return client.v1.refunds.create(expected)


def code_of(error: pytest.ExceptionInfo[stripe.StripeError]) -> tuple[int | None, str | None]:
    return error.value.http_status, error.value.code
