"""The Stripe simulator for tests: one process for a run, shared by transaction ids."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING, Any

import requests

from devtools.stripe_simulator.webhooks import signature

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse


class StripeSimulator:
    """Client of a running simulator for a test."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings to pay here."""
        return {"payment_gateway_url": self.url}

    def state(self) -> dict[str, Any]:
        """Return everything that happened at the simulator."""
        state: dict[str, Any] = requests.get(f"{self.url}/_simulator/state", timeout=30).json()
        return state

    def control(self, path: str, **body: Any) -> dict[str, Any]:
        """POST to `/_simulator`, which the real Stripe does not have."""
        response = requests.post(f"{self.url}/_simulator/{path}", json=body, timeout=30)
        response.raise_for_status()
        output: dict[str, Any] = response.json()
        return output

    def call(self, method: str, path: str, **form: Any) -> dict[str, Any]:
        """Call Stripe's API with a secret key."""
        headers = {"Authorization": "Bearer sk_test_tests"}
        response = requests.request(method, f"{self.url}{path}", headers=headers, timeout=30, data=form)
        response.raise_for_status()
        found: dict[str, Any] = response.json()
        return found

    def confirm(self, client_secret: str, token: str) -> None:
        """Confirm a PaymentIntent in a browser. The payment method may be declined."""
        intent_id, _, _ = client_secret.partition("_secret_")
        form = {
            "key": "pk_test_browser",
            "client_secret": client_secret,
            "payment_method": token,
            "return_url": "https://shop.example.com/done",
        }
        url = f"{self.url}/v1/payment_intents/{intent_id}/confirm"
        assert requests.post(url, data=form, timeout=30).status_code in (200, 402)

    def charges(self, transaction_id: str | None = None) -> list[dict[str, Any]]:
        """Return successful charges, of one transaction or all."""
        return [
            charge
            for charge in self.state()["charges"]
            if charge["status"] == "succeeded"
            and transaction_id in (None, charge["metadata"].get("transaction_id"))
        ]

    def intent(self, transaction_id: str) -> dict[str, Any]:
        """Return the PaymentIntent of one transaction."""
        [found] = (
            intent
            for intent in self.state()["payment_intents"]
            if intent["metadata"].get("transaction_id") == transaction_id
        )
        intent: dict[str, Any] = found
        return intent

    def refunds(self, gateway_id: str) -> list[dict[str, Any]]:
        """Return the refunds of a PaymentIntent in any status."""
        return [refund for refund in self.state()["refunds"] if refund["payment_intent"] == gateway_id]

    def events(self, gateway_id: str) -> list[dict[str, Any]]:
        """Return the events about a PaymentIntent, its charges, and its refunds, oldest first."""
        found: list[dict[str, Any]] = []
        params: dict[str, Any] = {"limit": 100}
        while True:
            response = requests.get(f"{self.url}/v1/events", params, auth=("sk_test_x", ""), timeout=30)
            response.raise_for_status()
            page = response.json()
            for event in page["data"]:
                subject = event["data"]["object"]
                if gateway_id in (subject["id"], subject.get("payment_intent")):
                    found.insert(0, event)
            if not page["has_more"]:
                return found
            params["starting_after"] = page["data"][-1]["id"]

    def fault(self, **fault: Any) -> None:
        """Inject a fault into the next matching request."""
        self.control("faults", **fault)

    def clear_faults(self) -> None:
        """Clear unused faults."""
        requests.delete(f"{self.url}/_simulator/faults", timeout=30).raise_for_status()


def webhook(kind: str, subject: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return a webhook event about an object, with the given fields changed."""
    event = {"id": f"evt_{uuid.uuid4().hex}", "livemode": False, "created": int(time.time()), "type": kind}
    return event | {"data": {"object": subject}} | fields


def signed(event: dict[str, Any], secret: str, age: int = 0) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a webhook that was signed `age` seconds ago."""
    payload = json.dumps(event).encode()
    return payload, {
        "Content-Type": "application/json",
        "Stripe-Signature": signature(payload, secret, int(time.time()) - age),
    }


def deliver(client: FlaskClient, event: dict[str, Any], secret: str, age: int = 0) -> TestResponse:
    """Deliver a webhook, as Stripe does."""
    payload, headers = signed(event, secret, age)
    return client.post("/payment/webhook", data=payload, headers=headers)
