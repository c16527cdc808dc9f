"""MongoDB is lost between two steps of a payment: either nothing was charged, or the outcome is found."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

from app import models
from app.clock import utcnow
from app.models import Transaction
from app.payments.recovery import recover_due
from app.payments.service import make_payments
from app.payments.states import Actor
from tests.support.proxy import Proxy
from tests.support.servers import FailingApi
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "amount": 50, "payment_method": "credit_card"}


@pytest.fixture
def cable(mongodb_server: str) -> Iterator[Proxy]:
    port = urlsplit(mongodb_server).port
    assert port
    with Proxy(port) as proxy:
        yield proxy


@pytest.fixture
def paying(stored_settings: Settings, private_stripe: StripeSimulator) -> Settings:
    models.connect(stored_settings)
    return stored_settings.model_copy(update=private_stripe.settings | {"payment_gateway_max_retries": 0})


@pytest.fixture
def api(paying: Settings, cable: Proxy, tmp_path: Path) -> Iterator[FailingApi]:
    parts = urlsplit(paying.mongodb_uri)
    uri = parts._replace(netloc=f"{parts.hostname}:{cable.port}").geturl()
    api = FailingApi(tmp_path / "api", paying.model_copy(update={"mongodb_uri": uri}))
    api.start()
    yield api
    api.stop()


@pytest.fixture
def pay(api: FailingApi) -> Iterator[Callable[[str], Future[requests.Response]]]:
    def post(booking: str) -> requests.Response:
        body = PAYMENT | {"booking_id": booking}
        headers = {"Idempotency-Key": booking}
        return requests.post(f"{api.url}/payment/process", json=body, headers=headers, timeout=30)

    with ThreadPoolExecutor(1) as client:
        yield lambda booking: client.submit(post, booking)


def stop_at(api: FailingApi, at: int) -> None:
    api.failpoints.arm(at, how=signal.SIGSTOP)


def stopped(api: FailingApi, response: Future[Any]) -> bool:
    wait_for(lambda: api.failpoints.fired() or response.done(), 20, "it neither stopped nor answered")
    return api.failpoints.disarm()


def test_mongodb_lost_at_every_boundary_of_a_payment(
    api: FailingApi,
    paying: Settings,
    cable: Proxy,
    private_stripe: StripeSimulator,
    pay: Callable[[str], Future[requests.Response]],
) -> None:
    assert pay("warm").result().status_code == 200
    output: dict[str, tuple[str, int]] = {}
    for at in count(1):
        stop_at(api, at)
        response = pay(f"BOOK-{at}")
        if not stopped(api, response):
            break
        cable.cut()
        api.failpoints.let_go()
        output[f"BOOK-{at}"] = (api.failpoints.last(), response.result().status_code)
        cable.restore()
        wait_for(lambda: requests.get(f"{api.url}/health/ready", timeout=5).ok, 20, "MongoDB is not back")

    charged = {charge["metadata"]["booking_id"] for charge in private_stripe.charges()}
    for booking, (boundary, status) in output.items():
        print(f"{status} {'charged' if booking in charged else 'nothing charged'}: {boundary}")  # noqa: T201
        # 503 means that nothing was charged, so the client pays again.
        assert status in ((200, 202) if booking in charged else (503,))
    assert {status for _, status in output.values()} == {200, 202, 503}

    Transaction.objects(recover_after__ne=None).update(set__recover_after=utcnow() - timedelta(seconds=1))
    recover_due(make_payments(paying))
    for payment in Transaction.objects(booking_id__ne="warm"):
        # 503 stays true: a payment that was recorded anyway fails and is never charged.
        charges = len(private_stripe.charges(payment.id))
        assert (payment.status, charges) in (("completed", 1), ("failed", 0))
        assert (charges == 1) == (payment.booking_id in charged)


def test_mongodb_lost_after_a_lost_race(
    api: FailingApi,
    paying: Settings,
    cable: Proxy,
    private_stripe: StripeSimulator,
    pay: Callable[[str], Future[requests.Response]],
) -> None:
    """A webhook records the charge first; then MongoDB is lost before the request reads it."""
    assert pay("warm").result().status_code == 200
    boundaries: list[str] = []
    response: Future[requests.Response] | None = None
    while not (boundaries and boundaries[-1] == "before MongoDB update transaction_logs"):
        stop_at(api, 1)
        if response is None:
            response = pay("BOOK-1")
        else:
            api.failpoints.let_go()
        assert stopped(api, response)
        boundaries.append(api.failpoints.last())
    assert response is not None
    side = make_payments(paying)
    [payment] = side.books.ledger.search(1, booking_id="BOOK-1")
    [charge] = private_stripe.charges(payment.id)
    fact = side.gateway.payment(charge["payment_intent"])
    assert fact
    side.settle_by(payment, fact, Actor.WEBHOOK)

    for expected in ("after MongoDB update", "before MongoDB find transaction_logs"):
        stop_at(api, 1)
        api.failpoints.let_go()
        assert stopped(api, response)
        assert api.failpoints.last() == expected
    cable.cut()
    api.failpoints.let_go()
    output = response.result()
    assert (output.status_code, output.json()["status"]) == (202, "pending")
    cable.restore()
    wait_for(lambda: requests.get(f"{api.url}/health/ready", timeout=5).ok, 20, "MongoDB is not back")
    assert requests.get(f"{api.url}{output.headers['Location']}", timeout=5).json()["status"] == "completed"
    assert len(private_stripe.charges(payment.id)) == 1
