"""The calls of a payment and a mail to MongoDB and Redis, without duplicates."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pymongo.monitoring
import pytest
import redis

from actors import deliveries
from actors.channels.email.channel import EmailChannel
from actors.deliver import Deliver
from actors.event_status import EventStatus
from actors.notify import Notify
from actors.receipts import Receipts
from actors.reminders import Reminders
from actors.suppressed import SuppressedRecipients
from app import create_app, models
from app.channels import ChannelName
from app.clock import iso, utcnow
from app.events.samples import sample
from app.models import Notification, Suppression
from app.privacy.erasures import make_erasures
from app.settings import Settings
from tests.support.mail import MailSink
from tests.support.stripe import StripeSimulator
from tests.support.wait import wait_for


class Commands(pymongo.monitoring.CommandListener):
    """Records the commands to MongoDB, such as `insert notification_logs`, and their thread."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []

    def started(self, event: Any) -> None:
        name = f"{event.command_name} {event.command.get(event.command_name)}"
        if event.command_name in ("insert", "find", "update", "delete", "findAndModify", "aggregate"):
            self.said.append((threading.get_ident(), name))

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass

    @property
    def own(self) -> list[str]:
        """Return the commands of this thread."""
        return [name for thread, name in self.said if thread == threading.get_ident()]


_commands = Commands()
pymongo.monitoring.register(_commands)


@pytest.fixture
def mongodb() -> Commands:
    _commands.said.clear()
    return _commands


@contextmanager
def redis_commands(settings: Settings) -> Iterator[list[str]]:
    """Return the Redis commands of this test, recognized by its namespace."""
    said: list[str] = []
    with redis.Redis.from_url(settings.redis_url) as asking, asking.monitor() as monitor:
        yield said
        asking.publish(f"{settings.namespace}end", "")
        for entry in monitor.listen():
            if f"{settings.namespace}end" in entry["command"]:
                return
            if settings.namespace in entry["command"] and entry["client_type"] != "lua":
                said.append(entry["command"].split()[0])


def test_a_payment_needs_the_documented_round_trips(
    redis_settings: Settings, stripe_simulator: StripeSimulator, mongodb: Commands
) -> None:
    settings = redis_settings.model_copy(update=stripe_simulator.settings | {"ratelimit_enabled": True})
    app = create_app(settings)
    client = app.test_client()
    order = {"user_id": "user_1", "amount": 25.5, "payment_method": "credit_card"}
    assert (
        client.post("/payment/process", json=order | {"booking_id": "BOOK-1"}).status_code == 200
    )  # indexes
    app.extensions["movieapp"].relay.close()
    mongodb.said.clear()
    with redis_commands(settings) as said:
        response = client.post("/payment/process", json=order | {"booking_id": "BOOK-2"})
        assert response.status_code == 200
        assert response.headers["X-RateLimit-Limit"] == "20"
        assert response.headers["X-RateLimit-Remaining"] == "18"
    assert mongodb.own == ["insert transaction_logs", "update transaction_logs"]
    # Both rate limits, then the start and the end of an attempt.
    assert said == ["EVALSHA", "EVALSHA", "EVALSHA"]
    relayed = ["find transaction_logs", "update transaction_logs"]
    wait_for(lambda: [name for _, name in mongodb.said][2:] == relayed, 5, "not published")
    app.extensions["movieapp"].relay.close()


def test_a_mail_needs_the_documented_round_trips(
    redis_settings: Settings, mail_sink: MailSink, mongodb: Commands
) -> None:
    settings = redis_settings.model_copy(update=mail_sink.settings)
    models.connect(settings)
    email = EmailChannel(settings)
    queued: list[Notification] = []
    here = True
    dispatch: Any = lambda record, **_: queued.append(record)  # noqa: E731
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as store:
        deliver = Deliver(email, Receipts(store, settings.namespace), 0, SuppressedRecipients(settings))
        status = EventStatus(store, settings.namespace)
        notify = Notify(
            {ChannelName.EMAIL: deliver},
            lambda _: here,
            dispatch,
            status,
            Reminders(timedelta(0)),
            make_erasures(settings),
        )
        Notification.objects.count()  # the indexes exist
        Suppression.objects.count()
        notify(sample("booking.confirmed") | {"event_id": "evt_0", "timestamp": iso(utcnow())})
        # A new connection to the mail server is reported once, from the thread that opens it.
        wait_for(lambda: store.hget(f"{settings.namespace}mail_server:primary", "at"), 5, "not reported")
        queued.clear()
        # A current event, because older ones are looked up among the erased customers.
        event = sample("booking.confirmed") | {"timestamp": iso(utcnow())}
        mongodb.said.clear()
        known, accepted, processed = ["SET", "GET"], ["SET"], ["SET", "SET"]
        recorded, cancelled, sent = (f"{verb} notification_logs" for verb in ("insert", "find", "update"))
        listed = "find suppressions"
        with redis_commands(settings) as said:
            notify(event)
        assert mongodb.own == [recorded, cancelled, listed, sent]
        assert said == [*known, *accepted, *processed]
        assert queued == []

        with redis_commands(settings) as said:
            notify(event)
        assert said == known, "an event that comes again"

        here = False
        mongodb.said.clear()
        with redis_commands(settings) as said:
            notify(event | {"event_id": "evt_2"})
        assert mongodb.own == [recorded]
        assert said == [*known, *processed]

        mongodb.said.clear()
        with redis_commands(settings) as said:
            deliver(str(queued[0].id))
        claimed = ["update notification_logs", "find notification_logs"]
        assert mongodb.own == [*claimed, cancelled, listed, sent]
        assert said == accepted
    email.close()
    assert deliveries.claim(str(queued[0].id), utcnow() + email.lease) is None
