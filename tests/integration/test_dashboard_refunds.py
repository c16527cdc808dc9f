"""Bulk refunds in the dashboard: planned, confirmed by the total, stopped, and carried out by a worker."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from app import create_app
from app.clock import utcnow
from app.ids import new_id
from app.models import OperatorAction, RefundRun, Transaction
from app.payments.bulk.execute import carry_out_next
from app.payments.bulk.store import RunStore
from app.payments.orders import PaymentOrder
from tests.integration.test_dashboard_access import form_token, signed_in
from tests.support.lost_writes import lose_acknowledgment

if TYPE_CHECKING:
    from flask import Flask
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator


@pytest.fixture
def app(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[Flask]:
    app = create_app(redis_settings.model_copy(update=stripe_simulator.settings | {"auth_required": True}))
    yield app
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return signed_in(app, "ops:read", "ops:money")


@pytest.fixture
def paid(app: Flask) -> list[str]:
    side = app.extensions["movieapp"].payments
    orders = [PaymentOrder("user_1", f"BOOK-{n}", Decimal(25), "USD", "credit_card") for n in range(2)]
    return [side.pay(order, new_id("TXN-")).payment.id for order in orders]


def post(client: FlaskClient, path: str, **form: str) -> TestResponse:
    token = form_token(client.get("/dashboard/refunds"))
    return client.post(f"/dashboard/refunds{path}", data={"token": token, "reason": "Power cut"} | form)


def plan(client: FlaskClient, *ids: str) -> str:
    response = post(client, "", list="\n".join(ids))
    assert response.status_code == 302, response.text
    return response.location.rpartition("/")[2]


def sweep(app: Flask) -> None:
    carry_out_next(app.extensions["movieapp"].payments, RunStore(), threading.Event())


def test_a_refund_plan_is_confirmed_by_its_total_and_carried_out_by_a_worker(
    app: Flask, client: FlaskClient, paid: list[str]
) -> None:
    run_id = plan(client, *paid, "TXN-unknown")
    shown = client.get(f"/dashboard/refunds/{run_id}")
    assert "50.00 USD" in shown.text
    assert "<h1>Refund of 50.00 USD</h1>" in shown.text
    assert "no payment is on record" in shown.text
    sweep(app)
    assert Transaction.objects(status="completed").count() == 2, "nobody has confirmed it"

    wrong = post(client, f"/{run_id}/confirm", total="5.00 USD")
    assert "The total that you entered is wrong" in wrong.text
    assert RefundRun.objects.get(id=run_id).status == "planned"
    assert post(client, f"/{run_id}/confirm", total="50.00 USD").status_code == 302
    running = client.get(f"/dashboard/refunds/{run_id}").text
    assert ('data-live="5"' in running, "<noscript><meta http-equiv=" in running) == (True, True)
    sweep(app)
    assert Transaction.objects(status="refunded").count() == 2
    done = client.get(f"/dashboard/refunds/{run_id}")
    assert "finished" in done.text
    assert "2: 50.00 USD" in done.text
    assert "data-live" not in done.text
    assert "http-equiv" not in done.text
    assert run_id in client.get("/dashboard/refunds").text
    [action] = OperatorAction.objects
    assert (action.action, action.target, action.operator) == ("refunds.bulk", run_id, "operator")


def test_a_run_is_stopped_and_resumed(app: Flask, client: FlaskClient, paid: list[str]) -> None:
    run_id = plan(client, *paid)
    post(client, f"/{run_id}/confirm", total="50")
    assert post(client, f"/{run_id}/stop").status_code == 302
    sweep(app)
    assert Transaction.objects(status="refunded").count() == 0
    assert post(client, f"/{run_id}/confirm").status_code == 302
    sweep(app)
    assert Transaction.objects(status="refunded").count() == 2
    again = post(client, f"/{run_id}/stop")
    assert (again.status_code, "its status is finished" in again.text) == (422, True)


def test_a_confirmation_that_mongodb_does_not_acknowledge_is_reported_as_not_confirmed(
    app: Flask, client: FlaskClient, paid: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = plan(client, *paid)
    lose_acknowledgment(monkeypatch, "update_one", "running", RefundRun.collection().name)
    response = post(client, f"/{run_id}/confirm", total="50")
    assert response.status_code == 503
    assert f"The start of the bulk refund {run_id} is not confirmed" in response.text
    assert f"movieapp refunds show {run_id}" in response.text
    assert f'<a href="/dashboard/refunds/{run_id}">Open the bulk refund</a>' in response.text
    assert "not processed" not in response.text
    sweep(app)
    assert Transaction.objects(status="refunded").count() == 2


def test_an_old_plan_is_not_carried_out(client: FlaskClient, paid: list[str]) -> None:
    run_id = plan(client, *paid)
    RefundRun.objects(id=run_id).update(set__created_at=utcnow() - timedelta(hours=1))
    assert "too old" in client.get(f"/dashboard/refunds/{run_id}").text
    assert post(client, f"/{run_id}/confirm", total="50.00 USD").status_code == 422
    assert RefundRun.objects.get(id=run_id).status == "planned"


def test_refunds_require_a_key_with_the_scope(app: Flask, client: FlaskClient, paid: list[str]) -> None:
    run_id = plan(client, *paid)
    reader = signed_in(app, "ops:read", "ops:write")
    page = reader.get(f"/dashboard/refunds/{run_id}")
    assert page.status_code == 200
    assert "Type the total" not in page.text
    for path in ("", f"/{run_id}/confirm", f"/{run_id}/stop"):
        form = {"token": form_token(page), "list": "TXN-1", "total": "50.00 USD"}
        assert reader.post(f"/dashboard/refunds{path}", data=form).status_code == 403
    for path in ("", f"/{run_id}/confirm", f"/{run_id}/stop"):
        assert client.post(f"/dashboard/refunds{path}", data={"total": "50.00 USD"}).status_code == 403
    assert RefundRun.objects.count() == 1
    assert OperatorAction.objects.count() == 0


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "Either paste a list or enter a showtime"),
        ({"list": "TXN-1", "showtime": "2036-12-15"}, "Either paste a list or enter a showtime"),
        ({"list": "[1]"}, "neither an id nor an object"),
        ({"list": "TXN-1", "reason": " "}, "The reason must be"),
        (
            {"showtime": "2036-12-15T20:00:00Z", "movie": "Dune"},
            "No booking on record matches this screening",
        ),
    ],
)
def test_an_invalid_form_names_the_error(client: FlaskClient, form: dict[str, str], message: str) -> None:
    response = post(client, "", **form)
    assert response.status_code == 422
    assert message in response.text
    assert RefundRun.objects.count() == 0


def test_an_unknown_run_is_refused(client: FlaskClient) -> None:
    assert "No bulk refund has the id" in client.get("/dashboard/refunds/RUN-0").text
