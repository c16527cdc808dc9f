"""Lost responses and killed processes: the outcome is found later, and no customer pays twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from app import create_app, models
from app.clock import utcnow
from app.gateway import Unknown
from app.models import Transaction
from app.payments.recovery import recover_due
from app.payments.service import _charge_of, make_payments
from app.payments.states import Actor
from app.settings import Settings
from tests.support.ports import free_port
from tests.support.servers import ApiServer
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 25.5, "payment_method": "credit_card"}
CREATE = "POST /v1/payment_intents"


@pytest.fixture
def stripe(private_stripe: StripeSimulator) -> StripeSimulator:
    return private_stripe


@pytest.fixture
def paying(redis_settings: Settings, stripe: StripeSimulator) -> Settings:
    impatient = {"payment_gateway_read_timeout": 3.0, "payment_gateway_max_retries": 0}
    return redis_settings.model_copy(update=stripe.settings | impatient)


@pytest.fixture
def client(paying: Settings) -> Iterator[Any]:
    app = create_app(paying)
    yield app.test_client()
    app.extensions["movieapp"].relay.close()


def recover(settings: Settings) -> None:
    """Run a worker's recovery sweep with all payments due."""
    models.connect(settings)
    Transaction.objects(recover_after__ne=None).update(set__recover_after=utcnow() - timedelta(seconds=1))
    recover_due(make_payments(settings))


def the_payment() -> Transaction:
    payment: Transaction = Transaction.objects.get(booking_id="BOOK-1")
    return payment


@pytest.mark.parametrize("kind", ["drop_after", "malformed", "delay"])
def test_a_charge_with_a_lost_response_is_found(
    client: Any, paying: Settings, stripe: StripeSimulator, kind: str
) -> None:
    stripe.fault(match=CREATE, kind=kind, seconds=60)
    response = client.post("/payment/process", json=PAYMENT)
    assert (response.status_code, response.json["status"]) == (202, "pending")
    assert the_payment().outbox == []

    recover(paying)
    recover(paying)
    payment = the_payment()
    assert [(step.status, step.actor) for step in payment.history] == [
        ("pending", "api"),
        ("completed", "recovery"),
    ]
    assert [entry.event_type for entry in payment.outbox] == ["payment.success"]
    assert payment.recover_after is None
    assert len(stripe.charges()) == 1


def test_recovery_never_charges_a_lost_request(
    client: Any, paying: Settings, stripe: StripeSimulator
) -> None:
    stripe.fault(match=CREATE, kind="drop_before")
    assert client.post("/payment/process", json=PAYMENT).json["status"] == "pending"
    recover(paying)
    payment = the_payment()
    assert (payment.status, payment.error_code) == ("failed", "PAYMENT_GATEWAY_ERROR")
    assert [entry.event_type for entry in payment.outbox] == ["payment.failed"]
    assert stripe.charges() == []
    assert client.post("/payment/process", json=PAYMENT).json["status"] == "success"


def test_a_request_that_arrives_after_recovery_sealed_it_charges_nothing(
    client: Any, paying: Settings, stripe: StripeSimulator
) -> None:
    stripe.fault(match=CREATE, kind="drop_before")
    client.post("/payment/process", json=PAYMENT)
    side = make_payments(paying)
    late = side.books.get(the_payment().id)
    recover(paying)
    outcome = side.gateway.charge(_charge_of(late))
    assert isinstance(outcome, Unknown)
    assert stripe.charges() == []
    assert side.record(late, outcome, Actor.API).status == "failed"


@pytest.mark.parametrize(("status", "after"), [(500, False), (409, False), (500, True)])
def test_an_error_that_may_hide_a_charge_stays_pending_and_is_looked_up(
    client: Any, paying: Settings, stripe: StripeSimulator, status: int, after: bool
) -> None:
    stripe.fault(match=CREATE, kind="error", status=status, after=after)
    assert client.post("/payment/process", json=PAYMENT).status_code == 202
    recover(paying)
    assert the_payment().status == ("completed" if after else "failed")
    assert len(stripe.charges()) == after


def test_a_429_from_the_gateway_means_no_charge(client: Any, stripe: StripeSimulator) -> None:
    stripe.fault(match=CREATE, kind="error", status=429)
    assert client.post("/payment/process", json=PAYMENT).status_code == 502
    assert the_payment().status == "failed"
    assert stripe.charges() == []


def test_recovery_changes_nothing_while_the_gateway_is_unavailable(
    client: Any, paying: Settings, stripe: StripeSimulator
) -> None:
    stripe.fault(match=CREATE, kind="drop_after")
    client.post("/payment/process", json=PAYMENT)
    recover(paying.model_copy(update={"payment_gateway_url": f"http://127.0.0.1:{free_port()}"}))
    payment = the_payment()
    assert payment.status == "pending"
    assert payment.recover_after > utcnow() + timedelta(seconds=10), "it is asked again, but not at once"
    recover(paying)
    assert the_payment().status == "completed"
    assert len(stripe.charges()) == 1


@pytest.mark.parametrize(
    ("kind", "outcome", "charges"), [("drop_after", "completed", 1), ("drop_before", "failed", 0)]
)
def test_after_a_day_the_key_has_expired_and_the_payment_is_looked_up(
    client: Any, paying: Settings, stripe: StripeSimulator, kind: str, outcome: str, charges: int
) -> None:
    stripe.fault(match=CREATE, kind=kind)
    client.post("/payment/process", json=PAYMENT)
    for number in range(12):  # more than one page of the list
        client.post("/payment/process", json=PAYMENT | {"booking_id": f"OTHER-{number}"})
    a_day = timedelta(hours=25)
    stripe.control("clock", advance_seconds=int(a_day.total_seconds()))
    payment = the_payment()
    recover(paying)
    assert the_payment().status == outcome
    assert len(stripe.charges(payment.id)) == charges


def test_a_status_request_settles_a_3d_secure_payment(client: Any, stripe: StripeSimulator) -> None:
    for booking, outcome, status in (("A", "succeed", "completed"), ("B", "fail", "failed")):
        response = client.post(
            "/payment/process",
            json=PAYMENT | {"booking_id": booking, "payment_token": "pm_card_authenticationRequired"},
        )
        assert response.json["status"] == "requires_action"
        url = response.headers["Location"]
        assert client.get(url).json["status"] == "requires_action"
        gateway_id = Transaction.objects.get(booking_id=booking).gateway_id
        stripe.control(f"payment_intents/{gateway_id}/authenticate", outcome=outcome)
        assert client.get(url).json["status"] == status
        assert client.get(url).json["status"] == status


@pytest.mark.parametrize("kind", ["delay", "drop_before"])
def test_recovery_settles_the_payment_of_a_process_killed_during_the_charge(
    redis_settings: Settings, stripe: StripeSimulator, tmp_path: Path, kind: str
) -> None:
    stripe.fault(match=CREATE, kind=kind, seconds=30, times=5)
    paying = redis_settings.model_copy(update=stripe.settings)
    api = ApiServer(tmp_path, paying)
    api.start()
    headers = {"Idempotency-Key": "k"}

    def post() -> None:
        with pytest.raises(requests.ConnectionError):
            requests.post(f"{api.url}/payment/process", json=PAYMENT, headers=headers, timeout=20)

    models.connect(redis_settings)
    request = threading.Thread(target=post)
    request.start()
    wait_for(lambda: Transaction.objects.count(), 10, "the payment was not recorded")
    if kind == "delay":
        wait_for(stripe.charges, 10, "the gateway was not asked")
    api.kill()
    request.join()

    stripe.clear_faults()
    recover(paying)
    charged = kind == "delay"
    first = the_payment()
    assert first.status == ("completed" if charged else "failed")
    assert len(stripe.charges()) == charged

    # The client repeats its request, which takes over the claim of the dead process and pays once.
    models.IdempotencyRecord.objects.update(set__claimed_at=utcnow() - timedelta(minutes=5))
    app = create_app(paying)
    again = app.test_client().post("/payment/process", json=PAYMENT, headers=headers)
    app.extensions["movieapp"].relay.close()
    assert again.status_code == 200
    assert (again.json["transaction_id"] == first.id) == charged
    assert len(stripe.charges()) == 1
