"""Which messages each queue accepts."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from dramatiq.message import Message

from app.events.decode import MAX_EVENT_BYTES
from app.messaging.wire import MAX_DELAY_SECONDS, MAX_MESSAGE_BYTES, Origin, Refused, accept

BOOKINGS, EMAIL, SMS = "notification.booking_events", "notification.email", "notification.sms"
EVENT = {"event_id": "evt_1", "event_type": "booking.confirmed", "x": None}

#: From a publisher through the exchange, and from our own user through the default exchange.
PUBLISHED, OWN = Origin("movie_app_events", "booking.confirmed"), Origin("", BOOKINGS)


def body(**fields: Any) -> bytes:
    return json.dumps(EVENT | fields).encode()


def envelope(actor: str = "notify", args: Any = (EVENT,), kwargs: Any = None, **options: Any) -> bytes:
    return Message("x", actor, tuple(args), kwargs or {}, options).encode()


@pytest.mark.parametrize("origin", [PUBLISHED, OWN, None])
def test_a_bare_event_becomes_a_message_to_notify(origin: Origin | None) -> None:
    message = accept(BOOKINGS, body(), origin)
    assert (message["actor_name"], message["message_id"], message["args"]) == ("notify", "evt_1", [EVENT])
    assert message["options"] == {}


def test_an_event_without_an_id_is_accepted_so_that_its_schema_names_what_is_missing() -> None:
    assert accept(BOOKINGS, b'{"event_type":"booking.confirmed"}', PUBLISHED)["message_id"]


def test_queues_are_recognized_in_any_namespace() -> None:
    assert accept(f"tests.{BOOKINGS}", body(), PUBLISHED)
    with pytest.raises(Refused, match="no actor consumes the queue"):
        accept("notification.other\x1b[2J", body(), PUBLISHED)


@pytest.mark.parametrize(
    ("sent", "origin", "reason"),
    [
        (envelope(), PUBLISHED, "publish the event as plain JSON"),
        (envelope(eta=2**62), PUBLISHED, "publish the event as plain JSON"),
        (envelope("send_email", ["x"]), PUBLISHED, "publish the event as plain JSON"),
        # With any other content.
        (body(actor_name="notify", queue_name="x"), PUBLISHED, "publish the event as plain JSON"),
        (envelope(), OWN, "publish the event as plain JSON"),
        (envelope(retries=1, eta=2**62), OWN, "publish the event as plain JSON"),
        (envelope(retries=1, max_retries=0), OWN, "publish the event as plain JSON"),
        (envelope("send_email", retries=1), OWN, "publish the event as plain JSON"),
        (envelope(args=[EVENT, 2], retries=1), OWN, "publish the event as plain JSON"),
        (body(event_type="payment.success"), PUBLISHED, "differs from the routing key booking.confirmed"),
        (body(event_type="booking.cancelled"), PUBLISHED, "differs from the routing key booking.confirmed"),
        (body(event_type="payment.success"), OWN, "accepts booking.* events, not payment.success"),
        (body(event_type="payment.success"), Origin("x", "payment.success"), "accepts booking.* events"),
        (body(event_type="booking\x1b[2J"), Origin("x", "booking.y"), r"'booking\\x1b\[2J' differs"),
        (body(event_type=7), PUBLISHED, "event_type is missing or not a string"),
        (b'{"event_id":"e"}', PUBLISHED, "event_type is missing or not a string"),
        (b"", PUBLISHED, "not valid JSON"),
        (b"\xff\xfe", PUBLISHED, "not valid UTF-8"),
        (b"[]", PUBLISHED, "must be a JSON object"),
        (b"[" * 200_000, PUBLISHED, "nested deeper"),
        (b'{"event_type":"booking.x","n":' + b"9" * 5_000 + b"}", PUBLISHED, "64 bits"),
        (body(x="x" * MAX_EVENT_BYTES), PUBLISHED, "must have at most"),
        (envelope(args=[{**EVENT, "x": "x" * MAX_MESSAGE_BYTES}], retries=1), OWN, "must have at most"),
    ],
)
def test_an_event_queue_accepts_only_its_own_events(sent: bytes, origin: Origin, reason: str) -> None:
    with pytest.raises(Refused, match=reason) as refused:
        accept(BOOKINGS, sent, origin)
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


def test_our_own_retry_of_an_event_is_accepted() -> None:
    soon = int((time.time() + MAX_DELAY_SECONDS - 60) * 1_000)
    sent = envelope(retries=1, traceback="…", requeue_timestamp=1, eta=soon)
    assert accept(BOOKINGS, sent, OWN)["options"]["eta"] == soon
    assert accept(BOOKINGS, envelope(), None)["args"] == [EVENT], "on Redis every event is wrapped"


def test_a_channel_queue_accepts_messages_for_its_actor() -> None:
    assert accept(EMAIL, envelope("send_email", ["6564"]), OWN)["args"] == ["6564"]
    assert accept(SMS, envelope("send_sms", ["6564"], {"given_up": True}, retries=3), OWN)["args"] == ["6564"]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (body(), "not a movieapp message"),
        (envelope("send_sms", ["6564"]), "for the actor send_email"),
        (envelope("notify"), "for the actor send_email"),
        (envelope("send_email", [["6564"]]), "must contain exactly one notification id"),
        (envelope("send_email", []), "must contain exactly one notification id"),
        (envelope("send_email", ["6564"], {"other": 1}), "must contain exactly one notification id"),
        (envelope("send_email", ["6564"], eta=2**62), "not a movieapp message"),
        (envelope("send_email", ["6564"], eta="soon"), "not a movieapp message"),
        (envelope("send_email", ["6564"], on_retry_exhausted="send_sms"), "not a movieapp message"),
        (b"[" * 100_000, "not a movieapp message"),
        (b"\xff", "not a movieapp message"),
    ],
)
def test_a_channel_queue_refuses_everything_else(sent: bytes, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        accept(EMAIL, sent, OWN)
