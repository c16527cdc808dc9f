"""One trace from the HTTP request to the accepted mail, with real processes and RabbitMQ."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import pika
import pytest
import redis
import requests
from pydantic import SecretStr

from app import models
from app.clock import utcnow
from app.events.samples import sample
from app.messaging.publisher import make_publisher
from app.models import OutboxEntry, Transaction
from app.payments import outbox
from app.payments.ledger.mongo import MongoLedger
from app.settings import Settings
from tests.support.collector import Collector, ReceivedSpan, collecting
from tests.support.commands import environment
from tests.support.mail import MailSink
from tests.support.ports import free_port
from tests.support.servers import ApiServer, WorkerProcess
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"

PAYMENT = {
    "user_id": "user_1",
    "user_email": "jane.doe@example.com",
    "booking_id": "BOOK-1",
    "amount": 25.5,
    "payment_method": "credit_card",
    "card_details": {
        "card_number": "4242424242424242",
        "expiry_month": 12,
        "expiry_year": 2040,
        "cvv": "123",
        "cardholder_name": "Jane Doe",
    },
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def traced(settings: Settings, collector: Collector, mail_sink: MailSink, **changes: Any) -> Settings:
    changes |= mail_sink.settings | {
        "otel_exporter_otlp_endpoint": collector.url,
        "otel_exporter_otlp_headers": SecretStr("api-key=k1"),
    }
    return settings.model_copy(update=changes)


def lines(log: Path) -> list[dict[str, Any]]:
    """Return the log lines in a file, without lines that servers print."""
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


def publish(settings: Settings, event: dict[str, Any], headers: dict[str, Any]) -> None:
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        connection.channel().basic_publish(
            settings.rabbitmq_exchange,
            event["event_type"],
            json.dumps(event),
            pika.BasicProperties(headers=headers),
        )


def test_a_payment_is_one_trace_from_request_to_mail(
    rabbit_settings: Settings,
    stripe_simulator: StripeSimulator,
    mail_sink: MailSink,
    collector: Collector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
    settings = traced(rabbit_settings, collector, mail_sink, **stripe_simulator.settings)
    api = ApiServer(tmp_path / "api", settings)
    api.start()
    with WorkerProcess(tmp_path, settings) as worker:
        worker.wait_until_it_works()
        response = requests.post(
            f"{api.url}/payment/process", json=PAYMENT, headers={"traceparent": TRACEPARENT}, timeout=30
        ).json()
        assert response["status"] == "success", response
        # An invalid traceparent is ignored in requests and events.
        hostile = {"traceparent": "00-" + "f" * 4_000}
        assert requests.get(f"{api.url}/payment/methods", headers=hostile, timeout=30).ok
        foreign = sample("booking.confirmed") | {"event_id": "evt_joins", "showtime": "tomorrow"}
        publish(settings, foreign, {"traceparent": TRACEPARENT})
        for number, value in enumerate(("nonsense", f"00-{'0' * 32}-{SPAN}-01", 7, ["00"], "x" * 9_000)):
            publish(settings, foreign | {"event_id": f"evt_{number}"}, {"traceparent": value})
        wait_for(lambda: len(collector.named("notify")) == 7, 30, lambda: worker.output())
    api.stop()

    expected = {
        ("payment-service", "POST /payment/process"),
        ("payment-service", "gateway POST payment_intents"),
        ("payment-service", "publish payment.success"),
        ("notification-service", "notify"),
        ("notification-service", "render"),
        ("notification-service", "smtp"),
        ("notification-service", "smtp after-data"),
    }
    ours = [span for span in collector.spans if span.trace_id == TRACE]
    assert expected <= {(span.service, span.name) for span in ours}
    accepted = ["smtp after-data", "smtp", "notify"]
    assert sorted(chain(ours, span) for span in ours if span.name == "smtp after-data") == [
        [*accepted, SPAN],
        [*accepted, "publish payment.success", "POST /payment/process", SPAN],
    ]

    # The foreign event joined its trace; the others began new ones.
    handled = collector.named("notify")
    assert sum(span.trace_id == TRACE for span in handled) == 2
    assert len({span.trace_id for span in handled}) == 6
    [methods] = collector.named("GET /payment/methods")
    assert methods.trace_id != TRACE

    # In the logs of both services.
    [payment] = [line for line in lines(tmp_path / "api" / "output.log") if "amount" in line]
    sent = [line for line in lines(tmp_path / "worker.log") if line.get("event_type") == "payment.success"]
    assert {line["trace_id"] for line in [payment, *sent]} == {TRACE}

    # No personal or card data, and the key for the receiver.
    found = [str(value) for span in collector.spans for value in (span.name, *span.attributes.values())]
    for secret in ("jane.doe", "Jane", "4242424242424242", "user_1"):
        assert not any(secret in text for text in found)
    assert not {"4242", "123"} & set(found)
    assert set(collector.keys) == {"k1"}
    assert not any(span.failed for span in collector.spans)


def chain(spans: list[ReceivedSpan], span: ReceivedSpan) -> list[str]:
    """Return the names from a span up to our first span, and the parent id of that."""
    by_id = {known.span_id: known for known in spans}
    names = [span.name]
    while span.parent in by_id:
        span = by_id[span.parent]
        names.append(span.name)
    return [*names, span.parent]


@pytest.fixture
def waiting(broker_settings: Settings) -> OutboxEntry:
    """An event that its process never published."""
    models.connect(broker_settings)
    event = sample("payment.success") | {"event_id": "evt_left"}
    entry = OutboxEntry(
        event_id="evt_left",
        event_type="payment.success",
        body=json.dumps(event),
        traceparent=TRACEPARENT,
        created_at=utcnow(),
    )
    Transaction(
        id="TXN-1",
        status="completed",
        booking_id="BOOK-1",
        user_id="user_1",
        amount=Decimal("25.50"),
        currency="USD",
        payment_method="credit_card",
        created_at=utcnow(),
        outbox=[entry],
        outbox_since=utcnow(),
    ).save(force_insert=True)
    return entry


def test_an_event_that_the_sweep_publishes_keeps_its_trace(
    broker_settings: Settings, waiting: OutboxEntry
) -> None:
    publisher = make_publisher(broker_settings)
    try:
        assert outbox.sweep(MongoLedger(), publisher, timedelta(0)) == 1
        assert traceparent_of_the_next(broker_settings) == TRACEPARENT
    finally:
        publisher.close()


def traceparent_of_the_next(settings: Settings) -> Any:
    """Return the trace of the next message on the payment queue."""
    queue = settings.namespace + "notification.payment_events"
    if settings.rabbitmq_url.startswith("redis"):
        with redis.Redis.from_url(settings.rabbitmq_url) as store:
            [message] = cast("list[bytes]", store.hvals(f"{settings.namespace}dramatiq:{queue}.msgs"))
        return json.loads(message)["options"]["traceparent"]
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        _, properties, _ = connection.channel().basic_get(queue, auto_ack=True)
        return properties.headers["traceparent"]


def test_without_an_endpoint_tracing_packages_are_not_loaded(settings: Settings) -> None:
    # redis-py imports OpenTelemetry's API and SDK if they are installed.
    code = (
        "import sys, app, actors.worker\n"
        "app.create_app().test_client().get('/payment/methods')\n"
        "sys.exit('app.telemetry.otel' in sys.modules or 'opentelemetry.exporter' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], env=environment(settings), check=False, timeout=60)
    assert ended.returncode == 0


def test_an_unreachable_receiver_delays_neither_payments_nor_shutdown(
    stored_settings: Settings, stripe_simulator: StripeSimulator, tmp_path: Path
) -> None:
    unavailable = f"http://127.0.0.1:{free_port()}"
    changes = stripe_simulator.settings | {"otel_exporter_otlp_endpoint": unavailable}
    api = ApiServer(tmp_path / "api", stored_settings.model_copy(update=changes))
    api.start()
    response = requests.post(f"{api.url}/payment/process", json=PAYMENT, timeout=30).json()
    assert response["status"] == "success"
    assert api.stop(grace=30) == 0, "killed after the grace that orchestrators give by default"
