"""/metrics: true, and out of the public's reach."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from app import create_app, models
from app.clock import utcnow
from app.models import Transaction, WebhookDelivery
from tests.support.ports import free_port, listens
from tests.support.servers import ApiServer
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings


def scraped(text: str) -> dict[str, float]:
    lines = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines}


def test_backlog_and_silence_of_the_gateway_are_told(stored_settings: Settings) -> None:
    client = create_app(stored_settings.model_copy(update={"metrics_public": True})).test_client()
    assert scraped(client.get("/metrics").text) == {
        "movieapp_outbox_transactions": 0,
        "movieapp_outbox_oldest_seconds": 0,
    }
    then = utcnow() - timedelta(minutes=3)
    fields = {"status": "completed", "booking_id": "B", "user_id": "u", "amount": 1, "currency": "USD"}
    Transaction(id="T", payment_method="stripe", created_at=then, outbox_since=then, **fields).save()
    WebhookDelivery(id="evt_1", type="x", received_at=then).save()
    WebhookDelivery(id="evt_2", type="x", received_at=then - timedelta(hours=1)).save()
    told = scraped(client.get("/metrics").text)
    assert told["movieapp_outbox_transactions"] == 1
    assert 180 <= told["movieapp_outbox_oldest_seconds"] < 240
    assert 180 <= told["movieapp_webhook_last_seconds"] < 240


def test_without_mongodb_there_is_a_gap_and_no_error(settings: Settings) -> None:
    uri = f"{settings.mongodb_uri}?serverSelectionTimeoutMS=100"
    changes = {"metrics_public": True, "mongodb_uri": uri}
    answer = create_app(settings.model_copy(update=changes)).test_client().get("/metrics")
    models.disconnect()
    assert (answer.status_code, scraped(answer.text)) == (200, {})


def test_the_public_listener_hides_them_whatever_it_is_told(
    stored_settings: Settings, tmp_path: Path
) -> None:
    own = free_port()
    changes = {"metrics_bind": f"127.0.0.1:{own}", "trusted_proxies": 1}
    api = ApiServer(tmp_path, stored_settings.model_copy(update=changes))
    api.start()
    wait_for(lambda: listens(own), 10, "there is no listener for metrics")
    assert requests.get(f"http://127.0.0.1:{own}/metrics", timeout=5).status_code == 200
    for headers in ({}, {"Host": f"127.0.0.1:{own}"}, {"X-Forwarded-Host": f"127.0.0.1:{own}"}):
        answer = requests.get(f"{api.url}/metrics", headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
    api.stop()
