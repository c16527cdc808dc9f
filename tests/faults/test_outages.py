"""Servers fail in the middle of work: no event is lost, and none is handled twice."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pika
import pytest
import requests

from app import create_app, models
from app.messaging import rabbitmq
from app.messaging.publisher import OutgoingEvent, PublishError, RabbitPublisher
from app.models import Transaction
from app.payments import outbox
from app.payments.ledger.mongo import MongoLedger
from app.payments.orders import PaymentOrder
from app.payments.service import make_payments
from app.settings import Settings
from tests.support.ports import free_port
from tests.support.servers import ApiServer, RabbitServer, WorkerProcess
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 25.5, "payment_method": "credit_card"}
QUEUE = "notification.payment_events"


def waiting_events(url: str, settings: Settings) -> list[tuple[str, dict[str, Any]]]:
    """Return routing key and body of every event in the payment queue, without removing them."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        events: list[tuple[str, dict[str, Any]]] = []
        while True:
            method, properties, body = channel.basic_get(f"{settings.namespace}{QUEUE}")
            if method is None or body is None:
                return events
            assert properties.delivery_mode == 2
            assert properties.content_type == "application/json"
            event = json.loads(body)
            assert (properties.message_id, properties.type) == (event["event_id"], event["event_type"])
            events.append((method.routing_key, event))


def test_payments_continue_without_rabbitmq_and_events_arrive_after_recovery(
    stored_settings: Settings, stripe_simulator: StripeSimulator, private_rabbitmq: RabbitServer
) -> None:
    settings = stored_settings.model_copy(
        update={"rabbitmq_url": private_rabbitmq.url} | stripe_simulator.settings
    )
    app = create_app(settings)
    client = app.test_client()
    first = client.post("/payment/process", json=PAYMENT).json["transaction_id"]
    wait_for(lambda: not Transaction.objects.get(id=first).outbox, 10, "the first event was not published")

    private_rabbitmq.settle()
    private_rabbitmq.kill()
    second = client.post("/payment/process", json=PAYMENT | {"booking_id": "BOOK-2"})
    assert second.status_code == 200
    second_id = second.json["transaction_id"]
    app.extensions["movieapp"].relay.close(timeout=30)
    (entry,) = Transaction.objects.get(id=second_id).outbox

    private_rabbitmq.start()
    publisher = RabbitPublisher(settings)
    assert outbox.sweep(MongoLedger(), publisher, timedelta(0)) == 1
    assert outbox.sweep(MongoLedger(), publisher, timedelta(0)) == 0
    publisher.close()
    events = waiting_events(private_rabbitmq.url, settings)
    assert [(key, event["transaction_id"]) for key, event in events] == [
        ("payment.success", first),
        ("payment.success", second_id),
    ]
    assert events[1][1]["event_id"] == entry.event_id


def test_payments_continue_while_rabbitmq_is_full_and_events_arrive_later(
    stored_settings: Settings,
    stripe_simulator: StripeSimulator,
    private_rabbitmq: RabbitServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(rabbitmq._TIMEOUTS, "blocked_connection_timeout", 1)
    settings = stored_settings.model_copy(
        update={"rabbitmq_url": private_rabbitmq.url} | stripe_simulator.settings
    )
    private_rabbitmq.control("set_vm_memory_high_watermark", "0.00000001")
    app = create_app(settings)
    paid = app.test_client().post("/payment/process", json=PAYMENT).json
    assert paid["status"] == "success"
    app.extensions["movieapp"].relay.close(timeout=30)
    publisher = RabbitPublisher(settings)
    [entry] = Transaction.objects.get(id=paid["transaction_id"]).outbox
    with pytest.raises(PublishError, match="which alarm"):
        publisher.publish(OutgoingEvent(entry.event_id, entry.event_type, entry.body))

    private_rabbitmq.control("set_vm_memory_high_watermark", "0.6")
    assert outbox.sweep(MongoLedger(), publisher, timedelta(0)) == 1
    publisher.close()
    # The unconfirmed event may have arrived too, but has the same id, so it is handled once.
    events = waiting_events(private_rabbitmq.url, settings)
    assert {event["event_id"] for _, event in events} == {entry.event_id}
    assert not Transaction.objects(outbox_since__ne=None)


def test_a_worker_with_a_heartbeat_has_declared_every_queue(
    stored_settings: Settings, private_rabbitmq: RabbitServer, tmp_path: Path
) -> None:
    settings = stored_settings.model_copy(update={"rabbitmq_url": private_rabbitmq.url})
    private_rabbitmq.stop()
    with WorkerProcess(tmp_path, settings) as worker:
        worker.wait_until(lambda: "Restarting consumer" in worker.output())
        assert not worker.beats()
        private_rabbitmq.start()
        worker.wait_until_it_works()
        with pika.BlockingConnection(pika.URLParameters(private_rabbitmq.url)) as connection:
            channel = connection.channel()
            channel.confirm_delivery()
            # An unroutable message raises an error.
            for event_type in ("booking.confirmed", "payment.success"):
                channel.basic_publish(settings.rabbitmq_exchange, event_type, b"{}", mandatory=True)


def test_the_event_of_a_killed_api_process_is_published_by_the_sweep(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator, tmp_path: Path
) -> None:
    models.connect(rabbit_settings)
    # Its relay can't reach the broker, so the event is still in the outbox when the process dies.
    nowhere = {"rabbitmq_url": f"amqp://guest:guest@127.0.0.1:{free_port()}/%2F"}
    api = ApiServer(tmp_path, rabbit_settings.model_copy(update=nowhere | stripe_simulator.settings))
    api.start()
    paid = requests.post(f"{api.url}/payment/process", json=PAYMENT, timeout=10).json()
    assert paid["status"] == "success"
    api.kill()

    publisher = RabbitPublisher(rabbit_settings)
    assert outbox.sweep(MongoLedger(), publisher, timedelta(0)) == 1
    publisher.close()
    ((_, event),) = waiting_events(rabbit_settings.rabbitmq_url, rabbit_settings)
    assert event["transaction_id"] == paid["transaction_id"]


def test_a_killed_rabbitmq_keeps_what_it_confirmed(
    stored_settings: Settings, private_rabbitmq: RabbitServer
) -> None:
    settings = stored_settings.model_copy(update={"rabbitmq_url": private_rabbitmq.url})
    publisher = RabbitPublisher(settings)

    def publish(event_id: str) -> None:
        body = json.dumps({"event_id": event_id, "event_type": "payment.success"})
        publisher.publish(OutgoingEvent(event_id, "payment.success", body))

    publish("evt_1")
    private_rabbitmq.settle()
    publish("evt_2")  # over a connection that was lost with the server
    private_rabbitmq.kill()
    private_rabbitmq.start()
    publish("evt_3")
    publisher.close()
    events = waiting_events(private_rabbitmq.url, settings)
    assert [event["event_id"] for _, event in events] == ["evt_1", "evt_2", "evt_3"]


def test_new_events_do_not_overtake_events_held_back_by_an_outage(
    rabbit_settings: Settings, stripe_simulator: StripeSimulator
) -> None:
    settings = rabbit_settings.model_copy(update=stripe_simulator.settings)
    models.connect(settings)
    nobody_announces = make_payments(settings)

    def order(token: str) -> PaymentOrder:
        return PaymentOrder("u", "BOOK-1", Decimal(50), "USD", "stripe", payment_token=token)

    nobody_announces.pay(order("pm_card_chargeDeclined"), "TXN-1")
    nobody_announces.pay(order("pm_card_visa"), "TXN-2")

    app = create_app(settings)
    refund = {"original_transaction_id": "TXN-2", "booking_id": "BOOK-1", "user_id": "u", "reason": "r"}
    assert app.test_client().post("/payment/refund", json=refund).status_code == 200
    app.extensions["movieapp"].relay.close(timeout=30)
    events = waiting_events(rabbit_settings.rabbitmq_url, rabbit_settings)
    assert [key for key, _ in events] == ["payment.failed", "payment.success", "payment.refund"]
    assert not Transaction.objects(outbox_since__ne=None)
