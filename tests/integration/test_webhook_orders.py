"""Stripe's webhooks in any order and number: Hypothesis searches for a different final state."""

from __future__ import annotations

import json
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from pydantic import SecretStr

from app import create_app
from app.models import Transaction
from app.payments.outbox import Relay
from tests.support.stripe import deliver

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

SECRET = "whsec_tests"


@pytest.fixture
def client(
    stored_settings: Settings, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> FlaskClient:
    # Its thread would draw random numbers, which Hypothesis reports as a nondeterministic strategy.
    monkeypatch.setattr(Relay, "submit", lambda *_: None)
    secrets = {
        "stripe_webhook_secret": SecretStr(SECRET),
        "payment_gateway_max_retries": 0,
        # Every history declines the same card.
        "card_attempt_limits": "none",
    }
    app = create_app(stored_settings.model_copy(update=stripe_simulator.settings | secrets))
    return app.test_client()


class Story:
    """Steps at the gateway before any webhook arrives."""

    def __init__(self, client: FlaskClient, simulator: StripeSimulator) -> None:
        self._client = client
        self._simulator = simulator
        self.booking = f"BOOK-{uuid.uuid4().hex}"

    def play(
        self, *, lost: bool, asks: bool, confirmed: bool, refund: bool, fails: bool, verdict: str
    ) -> None:
        """Take a payment whose response may get lost, with actions of the customer, the shop, and a bank."""
        if lost:
            self._simulator.fault(match="POST /v1/payment_intents", kind="drop_after")
        token = "pm_card_authenticationRequired" if asks else "pm_card_visa"
        body = {"user_id": "u", "amount": 50, "payment_method": "stripe", "payment_token": token}
        self._client.post("/payment/process", json=body | {"booking_id": self.booking})
        intents = self._simulator.state()["payment_intents"]
        self.intent = next(i for i in intents if i["metadata"].get("booking_id") == self.booking)["id"]
        if asks:
            outcome = "succeed" if confirmed else "fail"
            self._simulator.control(f"payment_intents/{self.intent}/authenticate", outcome=outcome)
        if asks and not confirmed:
            return
        if refund:
            created = self._simulator.call("POST", "/v1/refunds", payment_intent=self.intent, amount=2000)
            if fails:
                self._simulator.control(f"refunds/{created['id']}/fail")
        if verdict:
            charge = self._simulator.call("GET", f"/v1/payment_intents/{self.intent}")["latest_charge"]
            self._simulator.control(f"charges/{charge}/dispute")
            self._simulator.control(f"charges/{charge}/dispute/close", status=verdict)

    def events(self) -> list[dict[str, Any]]:
        """Return the gateway's events about it, oldest first."""
        page = self._simulator.call("GET", "/v1/events?limit=100")["data"]
        return [event for event in reversed(page) if self.intent in json.dumps(event)]

    def deliver(self, event: dict[str, Any]) -> None:
        """Deliver an event, as Stripe does."""
        assert deliver(self._client, event, SECRET).status_code == 200

    def payment(self) -> Transaction:
        """Return the record."""
        found: Transaction = Transaction.objects.get(booking_id=self.booking)
        return found


FLAGS = {name: strategies.booleans() for name in ("lost", "asks", "confirmed", "refund", "fails")}
WHAT = strategies.fixed_dictionaries(FLAGS | {"verdict": strategies.sampled_from(["", "won", "lost"])})


#: More than the maximum number of events, because the drawn values must not depend on the outcome.
MOST = 20
NUMBERS = strategies.integers(0, MOST - 1)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    WHAT, strategies.permutations(range(MOST)), strategies.lists(strategies.integers(0, MOST - 1), max_size=6)
)
def test_webhooks_in_any_order_and_number_lead_to_the_same_state(
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
