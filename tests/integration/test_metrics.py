"""/metrics: correct values, not reachable by the public."""

from __future__ import annotations

import json
import signal
import socket
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import requests

from app import create_app, models
from app.clock import utcnow
from app.events.samples import sample
from app.models import Transaction, WebhookDelivery
from tests.support import events
from tests.support.commands import MOVIEAPP, environment, movieapp
from tests.support.ports import free_port, listens
from tests.support.processes import Process
from tests.support.servers import ApiServer
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.mail import MailSink
    from tests.support.stripe import StripeSimulator


def scraped(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def test_outbox_backlog_and_time_of_the_last_webhook_are_measured(stored_settings: Settings) -> None:
    client = create_app(stored_settings.model_copy(update={"metrics_public": True})).test_client()
    results = scraped(client.get("/metrics").text)
    assert (results["movieapp_outbox_transactions"], results["movieapp_outbox_oldest_seconds"]) == (0, 0)
    assert "movieapp_webhook_last_seconds" not in results
    then = utcnow() - timedelta(minutes=3)
    fields = {"status": "completed", "booking_id": "B", "user_id": "u", "amount": 1, "currency": "USD"}
    Transaction(id="T", payment_method="stripe", created_at=then, outbox_since=then, **fields).save()
    WebhookDelivery(id="evt_1", type="x", received_at=then).save()
    WebhookDelivery(id="evt_2", type="x", received_at=then - timedelta(hours=1)).save()
    results = scraped(client.get("/metrics").text)
    assert results["movieapp_outbox_transactions"] == 1
    assert 180 <= results["movieapp_outbox_oldest_seconds"] < 240
    assert 180 <= results["movieapp_webhook_last_seconds"] < 240


def test_without_mongodb_metrics_have_a_gap_and_no_error(settings: Settings) -> None:
    uri = f"{settings.mongodb_uri}?serverSelectionTimeoutMS=100"
    changes = {"metrics_public": True, "mongodb_uri": uri}
    response = create_app(settings.model_copy(update=changes)).test_client().get("/metrics")
    models.disconnect()
    assert response.status_code == 200
    stored = ("movieapp_outbox", "movieapp_webhook_last")
    assert not {name for name in scraped(response.text) if name.startswith(stored)}


def test_the_public_listener_hides_metrics_whatever_the_headers(
    stored_settings: Settings, tmp_path: Path
) -> None:
    own = free_port()
    changes = {"metrics_bind": f"127.0.0.1:{own}", "trusted_proxies": 1}
    api = ApiServer(tmp_path, stored_settings.model_copy(update=changes))
    api.start()
    wait_for(lambda: listens(own), 10, "there is no listener for metrics")
    assert requests.get(f"http://127.0.0.1:{own}/metrics", timeout=60).status_code == 200
    for headers in ({}, {"Host": f"127.0.0.1:{own}"}, {"X-Forwarded-Host": f"127.0.0.1:{own}"}):
        response = requests.get(f"{api.url}/metrics", headers=headers, timeout=5)
        assert (response.status_code, response.json()["error"]["code"]) == (404, "NOT_FOUND")
    for method, path in (
        ("POST", "/payment/process"),
        ("POST", "/payment/webhook"),
        ("GET", "/health"),
        ("GET", "/dashboard"),
        ("GET", "/docs/openapi.json"),
        ("GET", "/metrics/"),
        ("GET", "//metrics"),
    ):
        other = requests.request(method, f"http://127.0.0.1:{own}{path}", json={}, timeout=5)
        assert (other.status_code, other.text) == (404, "This listener serves /metrics only.\n"), path
    api.stop()


def test_a_second_api_on_one_machine_starts_without_metrics(redis_settings: Settings, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        api = ApiServer(tmp_path, redis_settings.model_copy(update={"metrics_bind": bind}))
        api.start()
        assert requests.get(f"{api.url}/health", timeout=60).status_code == 200
        [warning] = [
            line for line in map(json.loads, api.output().splitlines()) if line["level"] == "warning"
        ]
        assert warning["metrics_bind"] == bind
        assert warning["reason"].startswith("Address already in use")
        assert "METRICS_BIND" in warning["message"]
        api.stop()


def test_metrics_and_the_api_have_separate_ports(redis_settings: Settings) -> None:
    changes = {"metrics_bind": "127.0.0.1:8003"}
    done = movieapp(redis_settings.model_copy(update=changes), "serve", "--bind", "0.0.0.0:8003")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: METRICS_BIND: must use a different port than the API\n",
    )


class TwoWorkers(ApiServer):
    """`movieapp serve` with two processes."""

    def command(self) -> Sequence[str]:
        return [*super().command()[:-1], "2"]

    def workers(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children()


def test_metrics_of_all_api_processes_are_summed_including_ended_ones(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    own = free_port()
    changes = {**stripe_simulator.settings, "metrics_bind": f"127.0.0.1:{own}"}
    api = TwoWorkers(tmp_path / "api", redis_settings.model_copy(update=changes))
    api.start()

    def results() -> dict[str, float]:
        return scraped(requests.get(f"http://127.0.0.1:{own}/metrics", timeout=10).text)

    def pay(booking: str, **fields: str) -> int:
        body = {"user_id": "u", "booking_id": booking, "amount": 12.5, "payment_method": "credit_card"}
        # A new connection for each request, so that both processes get some.
        headers = {"Idempotency-Key": booking, "Connection": "close"}
        url = f"{api.url}/payment/process"
        return requests.post(url, json=body | fields, headers=headers, timeout=30).status_code

    name = uuid.uuid4().hex
    assert [pay(f"{name}-{number % 6}") for number in range(7)] == [200] * 7
    assert pay(f"{name}-6", payment_token="pm_card_visa_chargeDeclinedInsufficientFunds") == 400
    for path in ("/nowhere/1", "/nowhere/2", "/payment/status/TXN-1", "/payment/status/TXN-2"):
        for method in ("BREW", "STIR", "GET"):
            requests.request(method, f"{api.url}{path}", timeout=10)

    counted = results()
    credit = 'method="credit_card"'
    for series, value in {
        f'payments_total{{error_code="",{credit},outcome="completed"}}': 6,
        f'payments_total{{error_code="INSUFFICIENT_FUNDS",{credit},outcome="failed"}}': 1,
        'revenue_total{currency="USD"}': 75,
        "idempotent_replays_total": 1,
        'payment_seconds_count{outcome="completed"}': 6,
        'gateway_seconds_count{operation="POST payment_intents",outcome="200"}': 6,
        'gateway_seconds_count{operation="POST payment_intents",outcome="402"}': 1,
        "gateway_calls_in_flight": 0,
    }.items():
        assert counted[f"movieapp_{series}"] == value, series
    # Arbitrary paths and methods.
    requested = {series for series in counted if series.startswith("movieapp_http_request_seconds_count")}
    of_none = {series.partition("{")[2] for series in requested if 'route="none"' in series}
    assert of_none == {
        'method="GET",route="none",status="404"}',
        'method="other",route="none",status="404"}',
        'method="other",route="none",status="405"}',
    }
    assert not [series for series in requested if "TXN-1" in series or "BREW" in series]

    ended = api.workers()[0]
    ended.send_signal(signal.SIGTERM)
    wait_for(lambda: not ended.is_running() and len(api.workers()) == 2, 60, "no worker came in its place")
    assert results()['movieapp_revenue_total{currency="USD"}'] == 75
    [directory] = tmp_path.glob("movieapp-metrics-*")
    api.stop()
    assert not directory.exists()


@pytest.fixture
def publish(broker_settings: Settings) -> Callable[[str, str], None]:
    return lambda kind, event_id: events.publish(broker_settings, sample(kind) | {"event_id": event_id})


def test_metrics_of_all_worker_processes_are_summed(
    broker_settings: Settings, publish: Callable[[str, str], None], mail_sink: MailSink, tmp_path: Path
) -> None:
    own = free_port()
    changes = {**mail_sink.settings, "worker_metrics_bind": f"127.0.0.1:{own}"}
    settings = broker_settings.model_copy(update=changes)
    command = [*MOVIEAPP, "worker", "--processes", "2", "--threads", "2"]
    environ = environment(settings) | {"TMPDIR": str(tmp_path)}

    def results() -> dict[str, float]:
        return scraped(requests.get(f"http://127.0.0.1:{own}/metrics", timeout=10).text)

    with Process(command, tmp_path / "worker.log", env=environ) as worker:
        worker.wait_until(lambda: listens(own), 60)
        for number in range(6):
            publish("payment.success", f"evt_{number}")
        publish("payment.success", "evt_0")
        mail_sink.wait(6)
        expected = {
            'message_seconds_count{outcome="done",queue="notification.payment_events"}': 7,
            'deliveries_total{channel="email",outcome="sent",template="payment_success"}': 6,
            'event_age_seconds_count{channel="email"}': 6,
            'render_seconds_count{template="payment_success"}': 6,
            'smtp_seconds_count{phase="after-data"}': 6,
            'queue_messages{queue="notification.email",state="dead"}': 0,
            'queue_messages{queue="notification.email",state="ready"}': 0,
            'messages_in_progress{queue="notification.payment_events"}': 0,
        }

        def unlike() -> dict[str, float | None]:
            now = results()
            found = {series: now.get(f"movieapp_{series}") for series in expected}
            return {series: value for series, value in found.items() if value != expected[series]}

        # The server receives a mail shortly before the worker counts it.
        wait_for(lambda: not unlike(), 20, lambda: f"not as expected: {unlike()}")
        counted = results()
        assert counted["movieapp_smtp_connections"] >= 1

        with Process(command, tmp_path / "second.log", env=environ) as second:
            second.wait_until(lambda: "worker metrics not served" in second.output(), 60)
            publish("payment.success", "evt_6")
            mail_sink.wait(7)
    assert not list(tmp_path.glob("movieapp-metrics-*"))
