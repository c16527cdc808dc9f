"""Texts through Twilio's own SDK, to a server that answers, refuses, hangs and hangs up on demand."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dramatiq
import pytest
import redis
from pydantic import SecretStr

from actors import deliveries
from actors.channels.sms.channel import SmsChannel
from actors.declare import worker_broker
from actors.deliver import Deliver, DeliveryFailed
from actors.receipts import Receipts
from app import models
from app.channels import ChannelName
from app.clock import utcnow
from app.events import samples
from app.messaging.publisher import OutgoingEvent, make_publisher
from app.models import Notification
from app.settings import Settings
from tests.support import twilio as fake
from tests.support.mail import MailSink
from tests.support.ports import free_port
from tests.support.twilio import FakeTwilio, running_twilio
from tests.support.wait import wait_for


@pytest.fixture
def twilio() -> Iterator[FakeTwilio]:
    with running_twilio() as server:
        yield server


def with_twilio(settings: Settings, twilio: FakeTwilio, **changes: Any) -> Settings:
    update = twilio.settings | {"twilio_timeout": 30.0} | changes
    return settings.model_copy(update=update | {"twilio_auth_token": SecretStr(update["twilio_auth_token"])})


def sample(name: str) -> dict[str, Any]:
    # A confirmation is not sent after the show.
    return samples.sample(name) | {"user_phone": "+14155550123", "showtime": "2999-12-15T20:00:00-05:00"}


class Sms:
    """The actor of the channel, given one delivery as its message gives it."""

    def __init__(self, settings: Settings) -> None:
        self._channel = SmsChannel(settings)
        self._redis = redis.Redis.from_url(settings.redis_url, decode_responses=True)
        receipts = Receipts(self._redis, settings.namespace)
        retries = settings.max_retry_attempts
        self._deliver = Deliver(self._channel, receipts, retries)

    def record(self, **changes: Any) -> Notification:
        event = sample("booking.confirmed") | changes
        return deliveries.record(event, ChannelName.SMS, "booking_confirmation", event["user_phone"])[0]

    def deliver(self, record: Notification) -> Notification:
        Notification.objects(id=record.id, status="retrying").update(set__next_attempt_at=utcnow())
        with contextlib.suppress(dramatiq.Retry, DeliveryFailed):
            self._deliver(str(record.id))
        found: Notification = Notification.objects.get(id=record.id)
        return found

    def send(self, **changes: Any) -> Notification:
        return self.deliver(self.record(**changes))

    def close(self) -> None:
        self._channel.close()
        self._redis.close()


@pytest.fixture
def make_sms(stored_settings: Settings, twilio: FakeTwilio) -> Iterator[Any]:
    models.connect(stored_settings)
    made: list[Sms] = []

    def make(**changes: Any) -> Sms:
        made.append(Sms(with_twilio(stored_settings, twilio, **changes)))
        return made[-1]

    yield make
    for sms in made:
        sms.close()


def test_a_text_is_sent_and_its_id_recorded(make_sms: Any, twilio: FakeTwilio) -> None:
    record = make_sms().send(user_phone="+1 415 555-0123")
    assert record.status == "sent"
    assert record.message_id.startswith("SM")
    [text] = twilio.texts
    assert (text["To"], text["From"]) == ("+14155550123", fake.SENDER)
    assert text["Body"].startswith("MovieApp: Booking BOOK-")


def test_texts_share_a_connection(make_sms: Any, twilio: FakeTwilio) -> None:
    sms = make_sms()
    for number in range(5):
        assert sms.send(event_id=f"evt_{number}").status == "sent"
    assert (twilio.requests, twilio.connections) == (5, 1)


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (fake.INVALID, "failed", "21211"),
        (fake.NOT_MOBILE, "failed", "21614"),
        (fake.UNSUBSCRIBED, "failed", "21610"),
        (fake.TOO_MANY, "retrying", "20429"),
        (fake.BROKEN, "retrying", "20500"),
        (fake.REFUSED_LOGIN, "retrying", "20003"),
    ],
    ids=lambda value: str(value.code) if isinstance(value, fake.Answer) else "",
)
def test_refusals(make_sms: Any, twilio: FakeTwilio, answer: fake.Answer, status: str, code: str) -> None:
    twilio.script = [answer]
    record = make_sms().send()
    assert record.status == status
    assert code in record.error_message
    assert answer.words in record.error_message
    assert (twilio.requests, twilio.texts) == (1, []), "the SDK repeats nothing by itself"


def test_too_many_then_sent(make_sms: Any, twilio: FakeTwilio) -> None:
    twilio.script = [fake.TOO_MANY, fake.BROKEN]
    sms = make_sms()
    record = sms.record()
    assert [sms.deliver(record).status for _ in range(3)] == ["retrying", "retrying", "sent"]
    assert len(twilio.texts) == 1


@pytest.mark.parametrize(
    ("answer", "timeout"),
    [(fake.HANG, 1.0), (fake.CUT, 30.0), (fake.GIBBERISH, 30.0)],
    ids=lambda value: str(value),
)
def test_a_request_without_an_answer_is_uncertain_and_never_repeated(
    make_sms: Any, twilio: FakeTwilio, answer: str, timeout: float
) -> None:
    sms = make_sms(twilio_timeout=timeout)
    twilio.script = [answer]
    record = sms.send()
    assert record.status == "uncertain"
    assert "may have been sent" in record.error_message
    assert sms.deliver(record).status == "uncertain"
    assert len(twilio.texts) == twilio.requests == 1


def test_a_connection_lost_between_two_texts_is_opened_anew(make_sms: Any, twilio: FakeTwilio) -> None:
    sms = make_sms()
    twilio.script = [fake.Answer(), fake.CUT]
    assert [sms.send(event_id=f"evt_{number}").status for number in range(3)] == ["sent", "uncertain", "sent"]
    assert twilio.connections == 2


def test_a_twilio_that_is_not_there_is_tried_again(make_sms: Any) -> None:
    record = make_sms(twilio_api_base=f"http://127.0.0.1:{free_port()}").send()
    assert record.status == "retrying"
    assert "could not be reached" in record.error_message


def test_a_certificate_that_is_not_trusted_gets_no_text(
    make_sms: Any, twilio: FakeTwilio, tmp_path: Path
) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([*command.split(), *names, *files], check=True, capture_output=True)
    twilio.secure(tmp_path / "cert.pem", tmp_path / "key.pem")
    record = make_sms(twilio_api_base=f"https://localhost:{twilio.server.server_port}").send()
    assert record.status == "retrying"
    assert "could not be reached: SSLError" in record.error_message
    assert twilio.requests == 0


def test_a_wrong_token_is_said_loudly_and_keeps_the_text(
    make_sms: Any, twilio: FakeTwilio, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    record = make_sms(twilio_auth_token="wrong-token").send()
    assert (record.status, record.retry_count) == ("retrying", 0)
    assert "TWILIO_AUTH_TOKEN" in record.error_message
    lines = log_lines()
    [loud] = [line for line in lines if line["level"] == "error"]
    assert loud["message"] == "no text can be sent until the settings are right"
    assert "wrong-token" not in f"{lines} {record.error_message}"


@pytest.mark.parametrize("number", ["+1415", "jane.doe@example.com", "4155550123"])
def test_a_number_that_is_none_is_given_up_before_any_call(
    make_sms: Any, twilio: FakeTwilio, number: str
) -> None:
    record = make_sms().send(user_phone=number)
    assert record.status == "failed"
    assert "the phone number is not valid" in record.error_message
    assert twilio.connections == 0


def test_texts_queued_before_sms_was_turned_off_are_given_up(make_sms: Any, twilio: FakeTwilio) -> None:
    record = make_sms(sms_provider="none").send()
    assert (record.status, twilio.requests) == ("failed", 0)
    assert "SMS_PROVIDER" in record.error_message


def test_the_process_s_own_twilio_region_changes_nothing(
    make_sms: Any, twilio: FakeTwilio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_REGION", "au1")
    monkeypatch.setenv("TWILIO_EDGE", "sydney")
    assert make_sms().send().status == "sent"


@pytest.fixture
def publish(
    broker_settings: Settings, twilio: FakeTwilio, mail_sink: MailSink
) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Publishes an event to a worker, on each broker."""
    settings = with_twilio(broker_settings.model_copy(update=mail_sink.settings), twilio)
    models.connect(settings)
    broker = worker_broker(settings)
    worker = dramatiq.Worker(broker, worker_timeout=50, worker_threads=2)
    worker.start()
    publisher = make_publisher(settings)
    yield lambda event: publisher.publish(
        OutgoingEvent(event["event_id"], event["event_type"], json.dumps(event))
    )
    publisher.close()
    worker.stop()
    broker.close()


def test_every_event_is_one_text_on_either_broker(
    publish: Callable[[dict[str, Any]], None], twilio: FakeTwilio
) -> None:
    bookings = ("booking.confirmed", "booking.cancelled", "booking.refunded")
    payments = ("payment.success", "payment.failed", "payment.refund")
    twilio.script = [fake.UNSUBSCRIBED]
    for name in bookings + payments:
        # A booking of its own each: after its cancellation a confirmation is not sent.
        event = sample(name) | {"event_id": f"evt_{name}", "booking_id": f"BOOK-{name}"}
        publish(event)
        publish(event)
    wait_for(
        lambda: Notification.objects(status__in=("sent", "failed")).count() == 2 * len(bookings + payments),
        20,
        "not everything was sent",
    )
    assert (twilio.requests, len(twilio.texts)) == (6, 5)
    assert Notification.objects(notification_type="email", status="sent").count() == 6
