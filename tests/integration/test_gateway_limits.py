"""A slow gateway or an absent customer delays other requests only for a limited time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from pydantic import SecretStr

from app import create_app, models
from app.clock import utcnow
from app.errors import CardExpired, GatewayError, InvalidCard, InvalidRequest
from app.gateway import CardDetails
from app.models import Transaction
from app.payments.orders import PaymentOrder
from app.payments.service import Payments, make_payments
from app.settings import Settings
from tests.support.servers import ApiServer, StripeServer
from tests.support.stripe import StripeSimulator, signed, webhook
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from flask.testing import FlaskClient


PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}
ASKS = {"payment_token": "pm_card_authenticationRequired"}


def test_a_hanging_gateway_does_not_occupy_every_thread(redis_settings: Settings, tmp_path: Path) -> None:
    gateway = StripeServer(tmp_path / "stripe")
    gateway.start()
    stripe = StripeSimulator(gateway.url)
    models.connect(redis_settings)
    slow = {"payment_gateway_read_timeout": 50.0, "payment_gateway_max_retries": 0, "web_threads": 8}
    api = ApiServer(tmp_path / "api", redis_settings.model_copy(update=stripe.settings | slow))
    api.start()
    stripe.fault(match="POST /v1/payment_intents", kind="delay", seconds=120, times=0)

    def pay(number: int) -> int:
        body = PAYMENT | {"booking_id": f"BOOK-{number}"}
        return requests.post(f"{api.url}/payment/process", json=body, timeout=120).status_code

    with ThreadPoolExecutor(20) as clients:
        responses = [clients.submit(pay, number) for number in range(20)]
        wait_for(lambda: sum(response.done() for response in responses) == 14, 30, "nobody was refused")
        assert requests.get(f"{api.url}/health", timeout=60).status_code == 200
        assert sum(response.done() for response in responses) == 14, "the others still wait for the gateway"
        gateway.kill()
        codes = sorted(response.result() for response in responses)
    api.stop()
    # Six of eight threads may wait for the gateway, and no other payment was affected.
    assert codes == [202] * 6 + [502] * 14
    assert Transaction.objects.count() == 6


def test_hanging_webhooks_delay_neither_payments_nor_health_checks(
    redis_settings: Settings, tmp_path: Path
) -> None:
    gateway = StripeServer(tmp_path / "stripe")
    gateway.start()
    stripe = StripeSimulator(gateway.url)
    models.connect(redis_settings)
    changes = {
        "payment_gateway_read_timeout": 50.0,
        "payment_gateway_max_retries": 0,
        "web_threads": 8,
        "stripe_webhook_secret": SecretStr("whsec_1"),
    }
    api = ApiServer(tmp_path / "api", redis_settings.model_copy(update=stripe.settings | changes))
    api.start()
    stripe.fault(match="GET /v1/payment_intents", kind="delay", seconds=120, times=0)

    def deliver(number: int) -> int:
        event = webhook("charge.refunded", {"id": "ch_1", "payment_intent": f"pi_{number}"})
        payload, headers = signed(event, "whsec_1")
        return requests.post(f"{api.url}/payment/webhook", payload, headers=headers, timeout=120).status_code

    with ThreadPoolExecutor(9) as deliveries:
        responses = [deliveries.submit(deliver, number) for number in range(9)]
        wait_for(
            lambda: sum(response.done() for response in responses) == 8, 30, "more than one webhook hangs"
        )
        assert requests.get(f"{api.url}/health", timeout=60).status_code == 200
        assert requests.post(f"{api.url}/payment/process", json=PAYMENT, timeout=60).status_code == 200
        assert sum(response.done() for response in responses) == 8, "one still waits for the gateway"
        gateway.kill()
        # Stripe repeats a webhook after a 5xx.
        assert {response.result() for response in responses} == {502}
    api.stop()


@pytest.fixture
def client(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[FlaskClient]:
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings))
    yield app.test_client()
    app.extensions["movieapp"].relay.close()


def intent_status(simulator: StripeSimulator, gateway_id: str) -> str:
    intents = simulator.state()["payment_intents"]
    found: str = next(intent for intent in intents if intent["id"] == gateway_id)["status"]
    return found


def the_payment() -> Transaction:
    payment: Transaction = Transaction.objects.get(booking_id="BOOK-1")
    return payment


def authenticate(simulator: StripeSimulator, gateway_id: str, outcome: str) -> None:
    simulator.control(f"payment_intents/{gateway_id}/authenticate", outcome=outcome)


def let_time_pass() -> None:
    Transaction.objects.update(set__created_at=utcnow() - timedelta(minutes=61))


def test_an_unconfirmed_payment_is_canceled_and_its_booking_can_be_paid_again(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    waiting = client.post("/payment/process", json=PAYMENT | ASKS)
    assert waiting.json["status"] == "requires_action"
    let_time_pass()
    response = client.get(waiting.headers["Location"]).json
    assert (response["status"], response["error_code"]) == ("failed", "CARD_DECLINED")
    assert "not confirmed in time" in response["error_message"]
    assert intent_status(stripe_simulator, the_payment().gateway_id) == "canceled"
    assert client.post("/payment/process", json=PAYMENT).status_code == 200


def test_a_customer_who_confirms_just_before_the_timeout_has_paid(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    waiting = client.post("/payment/process", json=PAYMENT | ASKS)
    authenticate(stripe_simulator, the_payment().gateway_id, "succeed")
    let_time_pass()
    assert client.get(waiting.headers["Location"]).json["status"] == "completed"


def test_the_browser_cannot_confirm_a_failed_intent_again(
    client: FlaskClient, stripe_simulator: StripeSimulator
) -> None:
    waiting = client.post("/payment/process", json=PAYMENT | ASKS)
    authenticate(stripe_simulator, the_payment().gateway_id, "fail")
    response = client.get(waiting.headers["Location"]).json
    assert response["status"] == "failed"
    assert response["error_message"].startswith("Your bank could not confirm that it is you")
    assert intent_status(stripe_simulator, the_payment().gateway_id) == "canceled"


class LiveSettings(Settings):
    """Settings as in live mode, although the simulator accepts only test keys."""

    @property
    def is_gateway_live(self) -> bool:
        return True


def live(settings: Settings, simulator: StripeSimulator, **changes: Any) -> Payments:
    values = settings.model_dump() | simulator.settings | changes | {"stripe_webhook_secret": "whsec_x"}
    live_settings = LiveSettings(_env_file=None, **values)
    return make_payments(live_settings)


def order(number: str, cvv: str = "123", **card: Any) -> PaymentOrder:
    details = CardDetails(number, cvv, **{"month": 12, "year": utcnow().year + 2} | card)
    return PaymentOrder(
        "u", "BOOK-1", amount=Decimal(50), currency="USD", payment_method="credit_card", card=details
    )


def test_live_mode_refuses_card_numbers(
    redis_settings: Settings, stripe_simulator: StripeSimulator, client: FlaskClient
) -> None:
    with pytest.raises(InvalidRequest, match="payment_token"):
        live(redis_settings, stripe_simulator).pay(order("4242424242424242"), "TXN-live-1")
    assert not Transaction.objects.count()


def test_allowed_card_numbers_are_tokenized_before_anything_is_stored(
    redis_settings: Settings, stripe_simulator: StripeSimulator, client: FlaskClient
) -> None:
    payments = live(redis_settings, stripe_simulator, allow_raw_card_data=True)
    paid = payments.pay(order("4242424242424242"), "TXN-live-2").payment
    assert (paid.status, paid.card_last_four) == ("completed", "4242")
    assert the_payment().gateway_method.startswith("pm_")
    Transaction.objects.delete()
    with pytest.raises(InvalidCard):
        payments.pay(order("4000000000000002"[:-1] + "3"), "TXN-live-3")
    with pytest.raises(CardExpired):
        payments.pay(order("4242424242424242", year=2020), "TXN-live-4")
    unavailable = live(
        redis_settings, stripe_simulator, allow_raw_card_data=True, payment_gateway_url="http://127.0.0.1:1"
    )
    with pytest.raises(GatewayError):
        unavailable.pay(order("4242424242424242"), "TXN-live-5")
    assert not Transaction.objects.count()
