"""Statistics of stored payments and deliveries, and the output of `movieapp stats`."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pytest

from app import create_app, models
from app.clock import iso, utcnow
from app.messaging.broker import make_broker
from app.messaging.queues import QUEUES
from app.models import Dispute, Move, Notification, Transaction
from app.operations.stats import Percentiles, compute_stats
from tests.support.commands import environment, movieapp
from tests.support.terminal import run_on_terminal

if TYPE_CHECKING:
    from app.settings import Settings


#: Nothing listens there.
NO_BROKER = {"rabbitmq_url": "redis://127.0.0.1:1/0"}


def transaction(number: int, at: datetime, **fields: Any) -> None:
    common = {
        "booking_id": f"B{number}",
        "user_id": "u",
        "amount": 25,
        "currency": "USD",
        "status": "completed",
    }
    common |= {"payment_method": "credit_card", "processed_at": at + timedelta(seconds=number)}
    Transaction(id=f"T{number}", created_at=at, **common | fields).save()


def notification(number: int, at: datetime, **fields: Any) -> None:
    common: dict[str, Any] = {
        "event_type": "payment.success",
        "notification_type": "email",
        "template": "payment_success",
    }
    common |= {"status": "sent", "sent_at": at + timedelta(seconds=2), "event_data": {"timestamp": iso(at)}}
    Notification(event_id=f"evt_{number}", created_at=at, **common | fields).save()


@pytest.fixture
def eventful(broker_settings: Settings) -> Settings:
    """A day with records of every kind."""
    models.connect(broker_settings)
    hour_ago = utcnow() - timedelta(hours=1)
    for number in range(1, 5):
        transaction(number, hour_ago)
    transaction(5, hour_ago, status="refunded", amount_refunded=25)
    transaction(6, hour_ago, status="failed", error_code="CARD_DECLINED", payment_method="paypal")
    transaction(7, hour_ago, amount=Decimal("900"), currency="JPY")
    transaction(8, hour_ago, status="pending", processed_at=None)
    transaction(9, utcnow() - timedelta(days=3))
    for number in range(3):
        notification(number, hour_ago)
    notification(3, hour_ago, status="failed", sent_at=None, retry_count=5)
    notification(4, hour_ago, status="skipped", sent_at=None)
    notification(5, hour_ago, notification_type="sms", event_data={"timestamp": "yesterday"})
    broker = make_broker(broker_settings)
    for queue in QUEUES:
        broker.declare_queue(broker_settings.namespace + queue)
    broker.close()
    return broker_settings


def test_statistics_of_a_day_are_correct(eventful: Settings) -> None:
    found = compute_stats(eventful, utcnow() - timedelta(days=1))
    payments = found.payments
    assert payments.by_status == {"completed": 5, "refunded": 1, "failed": 1, "pending": 1}
    assert payments.by_method == {"credit_card": 7, "paypal": 1}
    assert payments.failures == {"CARD_DECLINED": 1}
    assert payments.revenue == {"USD": 125, "JPY": 900}
    assert payments.refunded == {"USD": 25}
    assert payments.success_rate == pytest.approx(6 / 7)
    assert payments.processing == Percentiles(5, 3, 7, 7)
    assert len(payments.steps) == 25
    [busy] = [step for step in payments.steps if step.paid]
    assert (busy.paid, busy.failed, busy.revenue["USD"]) == (6, 1, Decimal(125))
    email = found.channels["email"]
    assert email.by_status == {"sent": 3, "failed": 1, "skipped": 1}
    assert (email.success_rate, email.retries) == (0.75, 5)
    assert email.latency == Percentiles(3, 2, 2, 2)
    assert found.channels["sms"].latency == Percentiles(1, 2, 2, 2)
    assert found.queues is not None
    assert [(depth.queue, depth.ready, depth.dead) for depth in found.queues] == [(q, 0, 0) for q in QUEUES]


def test_incomplete_records_do_not_break_statistics(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    hour_ago = utcnow() - timedelta(hours=1)
    transaction(1, hour_ago)
    notification(1, hour_ago)
    payments = Transaction._get_collection()
    for number, status in enumerate(("failed", "completed", "refunded", "of another version", None)):
        payments.insert_one({"_id": f"bad-{number}", "created_at": hour_ago, "status": status})
    payments.insert_one({"_id": "bad", "created_at": hour_ago})
    deliveries = Notification._get_collection()
    for number, status in enumerate(("sent", "failed", None)):
        deliveries.insert_one({"event_id": f"bad-{number}", "created_at": hour_ago, "status": status})

    found = compute_stats(stored_settings, utcnow() - timedelta(days=1))
    assert found.payments.by_status.total() == 7
    assert found.payments.failures == {"none": 1}
    assert found.payments.processing == Percentiles(1, 1, 1, 1)
    assert found.channels["unknown"].by_status.total() == 3
    shown = movieapp(stored_settings, "stats")
    assert (shown.returncode, shown.stderr) == (0, "")
    client = create_app(stored_settings).test_client()
    for path in ("", "/payments", "/payments?status=failed", "/notifications"):
        assert client.get(f"/dashboard{path}").status_code == 200, path


@pytest.mark.parametrize(
    ("span", "step", "steps"),
    [
        (timedelta(hours=1), timedelta(minutes=5), 13),
        (timedelta(days=7), timedelta(hours=6), 29),
        (timedelta(days=30), timedelta(days=1), 31),
    ],
)
def test_the_time_series_has_no_gaps(
    stored_settings: Settings, span: timedelta, step: timedelta, steps: int
) -> None:
    models.connect(stored_settings)
    stored_settings = stored_settings.model_copy(update=NO_BROKER)
    for number in range(20):
        transaction(number, utcnow() - span * number / 20)
    found = compute_stats(stored_settings, utcnow() - span).payments
    starts = [each.start for each in found.steps]
    assert len(starts) in (steps, steps + 1)
    assert {later - earlier for earlier, later in pairwise(starts)} == {step}
    assert sum(each.paid for each in found.steps) == found.by_status["completed"] == 20


def test_days_follow_the_time_zone_across_a_clock_change(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    zone = ZoneInfo("Europe/Berlin")
    # Clocks went back on 25 October 2026: that day had 25 hours.
    last_minute = datetime(2026, 10, 25, 23, 59, tzinfo=zone)
    for number, at in enumerate(
        (last_minute, last_minute - timedelta(days=1), last_minute + timedelta(minutes=1))
    ):
        transaction(number, at.astimezone(UTC))
    found = compute_stats(
        stored_settings.model_copy(update=NO_BROKER), datetime(2026, 10, 1, tzinfo=UTC), zone
    )
    paid = {step.start.astimezone(zone).date().isoformat(): step.paid for step in found.payments.steps}
    assert [paid[f"2026-10-{day}"] for day in (24, 25, 26)] == [1, 1, 1]
    assert sum(paid.values()) == 3


def test_processing_time_excludes_payments_confirmed_by_customers(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    hour_ago = utcnow() - timedelta(hours=1)
    transaction(1, hour_ago)
    confirmed = [Move(at=hour_ago, status=status, actor="api") for status in ("requires_action", "completed")]
    transaction(300, hour_ago, history=confirmed)
    found = compute_stats(stored_settings.model_copy(update=NO_BROKER), utcnow() - timedelta(days=1))
    assert found.payments.processing == Percentiles(1, 1, 1, 1)


def test_only_the_disputed_part_of_a_payment_is_disputed(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    now = utcnow()

    def dispute(number: int, status: str, amount: str | None = None) -> Dispute:
        return Dispute(id=f"dp_{number}", status=status, amount=amount and Decimal(amount), at=now)

    parts = [dispute(1, "needs_response", "2.50"), dispute(2, "lost", "1.25"), dispute(3, "won", "4")]
    transaction(1, now, amount=20, disputes=parts)
    transaction(2, now, amount=7, disputes=[dispute(4, "under_review")])
    transaction(3, now, amount=5, disputes=[dispute(5, "lost")])
    Transaction.objects(id="T3").update(unset__amount=1, unset__currency=1)
    found = compute_stats(stored_settings, now - timedelta(days=1)).payments.disputed
    assert found == {"USD": Decimal("10.75"), "unknown": 0}


def test_bounce_rate_is_the_share_of_accepted_mails_that_bounced(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    settings = stored_settings.model_copy(update=NO_BROKER)
    hour_ago = utcnow() - timedelta(hours=1)
    for number in range(90):
        notification(number, hour_ago, status="bounced" if number < 21 else "sent")
    notification(90, hour_ago, status="failed", sent_at=None)
    notification(91, hour_ago, notification_type="sms", status="queued", sent_at=None)
    channels = compute_stats(settings, utcnow() - timedelta(days=1)).channels
    email = channels["email"]
    assert (email.returned, email.accepted) == (21, 90)
    assert email.bounce_rate == pytest.approx(21 / 90)
    assert channels["sms"].bounce_rate is None

    output = json.loads(movieapp(settings, "stats", "--json").stdout)
    assert output["channels"]["email"]["bounce_rate"] == pytest.approx(21 / 90)
    assert "bounce rate\t23.3%" in movieapp(settings, "stats").stdout
    page = create_app(settings).test_client().get("/dashboard").text
    [tile] = re.findall(r'<div class="tile (\w*)"><dt>Email bounce rate</dt>(.*?)</div>', page)
    assert (tile[0], "23.3" in tile[1], "21 of 90 accepted" in tile[1]) == ("bad", True, True)


def test_statistics_without_records_succeed(stored_settings: Settings) -> None:
    models.connect(stored_settings)
    found = compute_stats(stored_settings.model_copy(update=NO_BROKER), utcnow() - timedelta(days=1))
    assert (found.payments.success_rate, found.payments.processing, found.channels) == (None, None, {})
    assert found.queues is None


def test_the_command_prints_statistics(eventful: Settings) -> None:
    done = movieapp(eventful, "stats", "--since", "1d", "--json")
    assert done.returncode == 0, done.stderr
    output = json.loads(done.stdout)
    assert output["payments"]["revenue"] == {"JPY": "900", "USD": "125"}
    assert output["payments"]["by_status"]["completed"] == 5
    assert output["channels"]["email"]["success_rate"] == 0.75
    assert {queue["queue"] for queue in output["queues"]} == set(QUEUES)

    command = [sys.executable, "-m", "cli.main", "stats", "--since", "1d"]
    code, shown = run_on_terminal(command, env=environment(eventful))
    assert code == 0
    for words in ("success rate", "85.7%", "CARD_DECLINED", "revenue USD", "payment_success", "█"):
        assert words in shown


def test_watching_ends_with_ctrl_c(eventful: Settings) -> None:
    command = [sys.executable, "-m", "cli.main", "stats", "--watch", "--interval", "1"]
    code, shown = run_on_terminal(command, until=("success rate", 2), env=environment(eventful))
    assert code == 0
    assert "Traceback" not in shown


def test_wrong_use_and_a_lost_database_are_reported_in_one_line(settings: Settings) -> None:
    both = movieapp(settings, "stats", "--watch", "--json")
    assert (both.returncode, "together" in both.stderr) == (2, True)
    uri = f"{settings.mongodb_uri}?serverSelectionTimeoutMS=100"
    unavailable = movieapp(settings.model_copy(update={"mongodb_uri": uri}), "stats")
    assert (unavailable.returncode, unavailable.stdout) == (1, "")
    assert unavailable.stderr.startswith("Error: ")
