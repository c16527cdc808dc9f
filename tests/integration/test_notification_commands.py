"""`movieapp notifications`: find sent messages, and resend them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import dramatiq
import pytest
from click.testing import CliRunner
from dramatiq.errors import BrokerConnectionError

from actors.declare import worker_broker
from app import models
from app.clock import utcnow
from app.errors import ServiceUnavailable
from app.events.samples import sample
from app.messaging.broker import make_broker
from app.messaging.dispatch import Dispatch
from app.messaging.topology import Topology
from app.models import Attempt, Notification
from app.operations.audit import Operator, Surface, find_actions
from app.operations.notifications import Criteria, find, resend
from app.settings import Settings
from cli.main import main
from tests.support.commands import environment, movieapp
from tests.support.mail import MailSink
from tests.support.wait import wait_for

EVENT: dict[str, Any] = sample("booking.cancelled")
OPERATOR = Operator("support@ops-1", Surface.CLI)


@pytest.fixture
def stack(redis_settings: Settings) -> Settings:
    """Settings of the embedded stack."""
    models.connect(redis_settings)
    return redis_settings


def record(status: str, number: int = 0, **fields: Any) -> Notification:
    """Store a notification with a given status."""
    event = EVENT | {"event_id": f"evt_{number}"}
    values = {
        "event_id": event["event_id"],
        "event_type": event["event_type"],
        "notification_type": "email",
        "booking_id": event["booking_id"],
        "recipient": event["user_email"],
        "template": "booking_cancellation",
        "event_data": event,
        "created_at": utcnow(),
        "attempts": [Attempt(at=utcnow(), outcome=status, detail="450 4.2.0 greylisted")],
    }
    notification = Notification(status=status, **{**values, **fields})
    notification.save()
    return notification


def test_notifications_are_filtered_by_every_option(stack: Settings) -> None:
    old = utcnow() - timedelta(days=2)
    first = record("sent", 1, booking_id="BOOK-1", recipient="other@example.com", created_at=old)
    second = record("failed", 2, notification_type="sms", event_type="booking.confirmed")

    def found(**criteria: Any) -> list[str]:
        return [notification.event_id for notification in find(Criteria(**criteria))]

    assert found() == [second.event_id, first.event_id]
    for criteria in (
        {"status": "sent"},
        {"channel": "email"},
        {"booking_id": "BOOK-1"},
        {"recipient": "other@example.com"},
        {"event_id": "evt_1"},
        {"event_type": "booking.cancelled"},
    ):
        assert found(**criteria) == ["evt_1"], criteria
    assert found(since=utcnow() - timedelta(days=1)) == ["evt_2"]
    assert found(status="sent", channel="sms") == []


def test_list_and_show(stack: Settings) -> None:
    notification = record("failed", error_message="550 no\x1b[2J", message_id="<a@example.com>", subject="S")
    record("queued", 1, booking_id="BOOK-OTHER")
    options = ("--booking", EVENT["booking_id"], "--status", "failed", "--since", "1h", "--limit", "5")
    (row,) = json.loads(movieapp(stack, "notifications", "list", *options, "--json").stdout)
    assert (row["id"], row["recipient"]) == (str(notification.id), EVENT["user_email"])
    plain = movieapp(stack, "notifications", "list")
    assert plain.returncode == 0, plain.stderr
    assert [len(line.split("\t")) for line in plain.stdout.splitlines()] == [9, 9, 9]
    assert "550 no\\x1b[2J" in plain.stdout

    shown = json.loads(movieapp(stack, "notifications", "show", row["id"], "--json").stdout)
    assert (shown["message_id"], shown["subject"]) == ("<a@example.com>", "S")
    assert [attempt["detail"] for attempt in shown["attempts"]] == ["450 4.2.0 greylisted"]
    assert shown["event"]["booking_id"] == EVENT["booking_id"]
    assert "450 4.2.0 greylisted" in movieapp(stack, "notifications", "show", row["id"]).stdout
    unknown = movieapp(stack, "notifications", "show", "nothing")
    assert (unknown.returncode, unknown.stderr) == (1, "Error: No notification has the id nothing.\n")


def test_resend_reports_queued_and_refused_notifications(stack: Settings) -> None:
    failed, sent = record("failed", 1, retry_count=5), record("sent", 2)
    done = movieapp(stack, "notifications", "resend", str(failed.id), str(sent.id), "unknown")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        f"{failed.id}  queued",
        f"{sent.id}  refused: already sent; pass --force to send it again",
        "unknown  refused: no notification has this id",
    ]
    failed.reload()
    assert (failed.status, failed.retry_count) == ("queued", 0)
    assert failed.due_at > utcnow()
    audit = failed.attempts[-1]
    assert (audit.outcome, audit.detail) == ("queued", "by an operator: resent, was failed")
    assert movieapp(stack, "notifications", "resend", str(sent.id), "--force").returncode == 0


@pytest.mark.parametrize("as_json", [False, True])
def test_resend_names_the_queued_notifications_if_a_later_one_fails(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    first, second, third = (str(record("sent", number).id) for number in range(3))

    def dispatch(self: Dispatch, notification: Notification) -> None:
        if str(notification.id) == third:
            raise BrokerConnectionError("connection refused")

    monkeypatch.setattr(Dispatch, "__call__", dispatch)
    words = ["notifications", "resend", first, second, third, "--force", *(["--json"] if as_json else [])]
    done = CliRunner().invoke(main, ["--data-dir", "/dev/null/none", *words], env=environment(stack))
    reason = (
        "The broker is unavailable (BrokerConnectionError). A worker will queue the notification "
        f"{third} when the broker is available again."
    )
    assert done.exit_code == 1
    if as_json:
        assert json.loads(done.stdout) == [
            {"id": first, "queued": True, "reason": None},
            {"id": second, "queued": True, "reason": None},
            {"id": third, "queued": False, "reason": reason},
        ]
    else:
        assert done.stdout.splitlines() == [
            f"{first}  queued",
            f"{second}  queued",
            f"{third}  failed: {reason}",
        ]


@pytest.fixture
def broker(broker_settings: Settings, mail_sink: MailSink) -> Iterator[dramatiq.Broker]:
    """Settings of a worker, and the worker."""
    models.connect(broker_settings)
    broker = worker_broker(broker_settings.model_copy(update=mail_sink.settings))
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    yield broker
    worker.stop()
    broker.close()


def test_a_resent_mail_has_the_same_message_id(
    broker: dramatiq.Broker, broker_settings: Settings, mail_sink: MailSink
) -> None:
    dispatch = Dispatch(broker, Topology.of(broker_settings))
    uncertain = record("uncertain")
    assert resend(str(uncertain.id), dispatch, OPERATOR) is None
    wait_for(lambda: uncertain.reload().status == "sent", 10, "not sent")
    assert resend(str(uncertain.id), dispatch, OPERATOR)
    assert len(mail_sink.mails) == 1
    assert resend(str(uncertain.id), dispatch, OPERATOR, again=True) is None
    first, second = mail_sink.wait(2)
    assert first["Message-ID"] == second["Message-ID"]
    wait_for(lambda: uncertain.reload().status == "sent", 10, "not sent")
    outcomes = [attempt.outcome for attempt in uncertain.attempts]
    assert outcomes == ["uncertain", "queued", "sent", "queued", "sent"]
    actions = find_actions(target=str(uncertain.id))
    assert [(each.operator, each.action, each.details["again"]) for each in actions] == [
        ("support@ops-1", "notifications.resend", True),
        ("support@ops-1", "notifications.resend", False),
    ]


def test_a_notification_that_cannot_be_resent_is_unchanged(stack: Settings) -> None:
    def dispatch(notification: Notification) -> None:
        pytest.fail("queued")

    sending = record("sending", 1)
    assert resend(str(sending.id), dispatch, OPERATOR, again=True) == "being sent now"
    nobody = record("skipped", 2, recipient=None)
    assert resend(str(nobody.id), dispatch, OPERATOR, again=True) == "the notification has no recipient"
    assert [sending.reload().status, nobody.reload().status] == ["sending", "skipped"]


def test_without_a_broker_the_sweep_queues_a_resent_notification(broker_settings: Settings) -> None:
    models.connect(broker_settings)
    scheme = broker_settings.rabbitmq_url.partition("://")[0]
    unavailable = broker_settings.model_copy(update={"rabbitmq_url": f"{scheme}://127.0.0.1:1/"})
    failed = record("failed")
    with (
        closing(make_broker(unavailable)) as broker,
        pytest.raises(ServiceUnavailable, match="A worker will queue the notification"),
    ):
        resend(str(failed.id), Dispatch(broker, Topology.of(unavailable)), OPERATOR)
    failed.reload()
    assert failed.status == "queued"
    assert failed.due_at is not None
