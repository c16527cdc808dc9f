"""Which events `notify` accepts, and how it handles a repeated id."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from app.events.samples import sample
from app.messaging.publisher import PublishError
from app.models import Notification
from app.settings import Settings
from tests.support.actors import (
    EVENTS,
    LogLines,
)
from tests.support.mail import MailSink


def test_an_invalid_event_is_dead_lettered_without_a_retry(make_stub: Any) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"seats": "A1"})
    assert stub.dead(EVENTS) == ["notify"]
    assert Notification.objects.count() == 0


def test_unknown_fields_may_have_any_name(make_stub: Any, mail_sink: MailSink) -> None:
    extra = {"a.b": 1, "c": {"d.e": [None, {"f": 1}]}, "": 2}
    make_stub().publish(sample("booking.confirmed") | extra)
    assert len(mail_sink.mails) == 1
    assert Notification.objects.get().event_data["a.b"] == 1


@pytest.mark.parametrize("value", [10**30, {"a": "x" * 300_000}], ids=["int", "size"])
def test_an_event_that_cannot_be_stored_is_not_queued(make_stub: Any, value: object) -> None:
    with pytest.raises(PublishError):
        make_stub().publish(sample("booking.confirmed") | {"extra": value})


def status_of(event: dict[str, Any], settings: Settings) -> Any:
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as store:
        return store.get(f"{settings.namespace}event:{event['event_id']}:status")


def forget_events(settings: Settings) -> None:
    """Delete what Redis knows about events, as after a restart."""
    with redis.Redis.from_url(settings.redis_url) as store:
        store.delete(*store.keys(f"{settings.namespace}event:*"))


@pytest.mark.parametrize("redis_forgot", [False, True])
def test_a_different_event_with_a_known_id_is_quarantined(
    make_stub: Any,
    mail_sink: MailSink,
    stored_settings: Settings,
    log_lines: LogLines,
    redis_forgot: bool,
) -> None:
    stub = make_stub()
    event = sample("booking.confirmed")
    stub.publish(event)
    if redis_forgot:
        forget_events(stored_settings)
    stub.publish(event | {"user_email": "other@example.com", "seats": ["Z9"]})
    assert len(mail_sink.mails) == 1
    assert stub.dead(EVENTS) == ["notify"]
    (kept,) = [line for line in log_lines() if line["message"] == "event quarantined"]
    assert (kept["level"], kept["event_id"]) == ("error", event["event_id"])
    assert kept["reason"] == "an earlier event with this event_id has different values for seats, user_email"
    assert status_of(event, stored_settings) == "processed"
    assert Notification.objects.get().recipient == event["user_email"]


@pytest.mark.parametrize("redis_forgot", [False, True])
def test_a_different_event_with_a_known_id_is_not_sent_over_a_channel_enabled_since(
    make_stub: Any, stored_settings: Settings, redis_forgot: bool
) -> None:
    event = sample("booking.confirmed")
    make_stub().publish(event)
    if redis_forgot:
        forget_events(stored_settings)
    stub = make_stub(sms_provider="console", sms_countries=("any",))
    stub.publish(event | {"user_phone": "+14155550199"})
    assert stub.dead(EVENTS) == ["notify"]
    assert [found.notification_type for found in Notification.objects] == ["email"]


def test_a_copy_in_another_serialization_is_a_duplicate(make_stub: Any, mail_sink: MailSink) -> None:
    stub = make_stub()
    event = sample("booking.confirmed") | {"total_amount": 25}
    stub.publish(event)
    stub.publish(dict(reversed(event.items())) | {"total_amount": 25.0, "cinema_address": None} | event)
    stub.publish(event | {"total_amount": 25.0, "nothing": None})
    assert stub.dead(EVENTS) == []
    assert len(mail_sink.mails) == 1


def test_an_invalid_copy_does_not_change_the_status_of_the_first(
    make_stub: Any, stored_settings: Settings
) -> None:
    stub = make_stub()
    event = sample("booking.confirmed")
    stub.publish(event)
    stub.publish(event | {"seats": "A1"})
    assert stub.dead(EVENTS) == ["notify"]
    assert status_of(event, stored_settings) == "processed"


@pytest.mark.parametrize("event_id", ["x" * 256, "", "evt_\u0000", None, 7], ids=repr)
def test_an_unusable_id_does_not_become_a_key(
    make_stub: Any, stored_settings: Settings, log_lines: LogLines, event_id: object
) -> None:
    stub = make_stub()
    stub.publish(sample("booking.confirmed") | {"event_id": event_id})
    assert stub.dead(EVENTS) == ["notify"]
    with redis.Redis.from_url(stored_settings.redis_url) as store:
        assert store.keys(f"{stored_settings.namespace}event:*") == []
    (refused,) = [line for line in log_lines() if line["message"] == "event refused"]
    assert refused["reason"].startswith("event_id: ")
