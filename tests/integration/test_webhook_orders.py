"""Stripe's webhooks in any order and number: hypothesis looks for one that ends otherwise."""

from __future__ import annotations

import json
import time
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, given, settings, strategies
from pydantic import SecretStr

from app import create_app
from app.models import Transaction
from app.payments.outbox import Relay
from devtools.stripe_simulator.webhooks import signature

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

SECRET = "whsec_tests"


@pytest.fixture
def client(
    stored_settings: Settings, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    # Its thread would draw random numbers, which Hypothesis takes for a mistake of the strategies.
    monkeypatch.setattr(Relay, "submit", lambda *_: None)
    secrets = {"stripe_webhook_secret": SecretStr(SECRET), "payment_gateway_max_retries": 0}
    app = create_app(stored_settings.model_copy(update=stripe_simulator.settings | secrets))
    return app.test_client()


class Story:
    """What happens at the gateway before any of its webhooks arrives."""

    def __init__(self, client: FlaskClient, simulator: StripeSimulator) -> None:
        self._client = client
        self._url = simulator.url
        self._simulator = simulator
        self.booking = f"BOOK-{uuid.uuid4().hex}"

    def _ask(self, method: str, path: str, **body: Any) -> Any:
        headers = {"Authorization": "Bearer sk_test_tests"}
        form: dict[str, Any] = {"json": body} if "_simulator" in path else {"data": body}
        answer = requests.request(method, f"{self._url}{path}", headers=headers, timeout=5, **form)
        answer.raise_for_status()
        return answer.json()

    def play(
        self, *, lost: bool, asks: bool, confirmed: bool, refund: bool, fails: bool, verdict: str
    ) -> None:
        """Take a payment whose answer may get lost, and let its customer, the shop and a bank act on it."""
        if lost:
            self._simulator.fault(match="POST /v1/payment_intents", kind="drop_after")
        token = "pm_card_authenticationRequired" if asks else "pm_card_visa"
        body = {"user_id": "u", "amount": 50, "payment_method": "stripe", "payment_token": token}
        self._client.post("/payment/process", json=body | {"booking_id": self.booking})
        intents = self._ask("GET", "/_simulator/state")["payment_intents"]
        self.intent = next(i for i in intents if i["metadata"]["booking_id"] == self.booking)["id"]
        if asks:
            path = f"/_simulator/payment_intents/{self.intent}/authenticate"
            self._ask("POST", path, outcome="succeed" if confirmed else "fail")
        if asks and not confirmed:
            return
        if refund:
            made = self._ask("POST", "/v1/refunds", payment_intent=self.intent, amount=2000)
            if fails:
                self._ask("POST", f"/_simulator/refunds/{made['id']}/fail")
        if verdict:
            charge = self._ask("GET", f"/v1/payment_intents/{self.intent}")["latest_charge"]
            self._ask("POST", f"/_simulator/charges/{charge}/dispute")
            self._ask("POST", f"/_simulator/charges/{charge}/dispute/close", status=verdict)

    def events(self) -> list[dict[str, Any]]:
        """The gateway's own events about it, oldest first."""
        page = self._ask("GET", "/v1/events?limit=100")["data"]
        return [event for event in reversed(page) if self.intent in json.dumps(event)]

    def deliver(self, event: dict[str, Any]) -> None:
        """Deliver one, as Stripe does."""
        payload = json.dumps(event).encode()
        headers = {"Stripe-Signature": signature(payload, SECRET, int(time.time()))}
        answer = self._client.post(
            "/payment/webhook", data=payload, headers=headers, content_type="application/json"
        )
        assert answer.status_code == 200

    def payment(self) -> Transaction:
        """As it is on record."""
        found: Transaction = Transaction.objects.get(booking_id=self.booking)
        return found


FLAGS = {name: strategies.booleans() for name in ("lost", "asks", "confirmed", "refund", "fails")}
WHAT = strategies.fixed_dictionaries(FLAGS | {"verdict": strategies.sampled_from(["", "won", "lost"])})


#: More than any story has events; what is drawn must not depend on what happens.
MOST = 20
NUMBERS = strategies.integers(0, MOST - 1)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    WHAT, strategies.permutations(range(MOST)), strategies.lists(strategies.integers(0, MOST - 1), max_size=6)
)
def test_any_order_and_number_come_to_the_same_end(
    client: FlaskClient,
    stripe_simulator: StripeSimulator,
    what: dict[str, Any],
    order: list[int],
    again: list[int],
) -> None:
    story = Story(client, stripe_simulator)
    story.play(**what)
    events = story.events()
    assert len(events) <= MOST
    first = [number for number in order if number < len(events)]
    for place, number in enumerate(again):
        first.insert(order[place] % (len(first) + 1), number % len(events))
    for number in first:
        story.deliver(events[number])
        payment = story.payment()
        assert payment.amount_refunded <= payment.refund_reserved <= payment.amount

    paid = not what["asks"] or what["confirmed"]
    refunded = paid and what["refund"] and not what["fails"]
    assert payment.status == ("failed" if not paid else "partially_refunded" if refunded else "completed")
    assert payment.amount_refunded == payment.refund_reserved == Decimal(20 if refunded else 0)
    assert [dispute.status for dispute in payment.disputes] == [what["verdict"]] * bool(
        paid and what["verdict"]
    )
    announced = [entry.event_type for entry in payment.outbox if entry.event_type != "payment.disputed"]
    assert announced == ["payment.success" if paid else "payment.failed"] + ["payment.refund"] * refunded
