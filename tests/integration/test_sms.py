"""SMS through Twilio's own SDK, to a server that responds, refuses, hangs, and disconnects on demand."""

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
from actors.suppressed import SuppressedRecipients
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
from tests.support.twilio import FakeTwilio
from tests.support.wait import wait_for


def with_twilio(settings: Settings, twilio: FakeTwilio, **changes: Any) -> Settings:
    return settings.model_copy(update=twilio.settings | {"twilio_timeout": 30.0} | changes)


def sample(name: str) -> dict[str, Any]:
    # A confirmation is not sent after the show.
    return samples.sample(name) | {"user_phone": "+14155550123", "showtime": "2999-12-15T20:00:00-05:00"}


class Sms:
    """Run the channel's actor with the message of one delivery."""

    def __init__(self, settings: Settings) -> None:
        self._channel = SmsChannel(settings)
        self._redis = redis.Redis.from_url(settings.redis_url, decode_responses=True)
        receipts = Receipts(self._redis, settings.namespace)
        retries = settings.max_retry_attempts
        self._deliver = Deliver(self._channel, receipts, retries, SuppressedRecipients(settings))

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
    created: list[Sms] = []

    def make(**changes: Any) -> Sms:
        created.append(Sms(with_twilio(stored_settings, twilio, **changes)))
        return created[-1]

    yield make
    for sms in created:
        sms.close()


def test_an_sms_is_sent_and_its_id_recorded(make_sms: Any, twilio: FakeTwilio) -> None:
    record = make_sms().send(user_phone="+1 415 555-0123")
    assert record.status == "sent"
    assert record.message_id.startswith("SM")
    [text] = twilio.texts
    assert (text["To"], text["From"]) == ("+14155550123", fake.SENDER)
    assert text["Body"].startswith("MovieApp: Booking BOOK-")


def test_sms_share_a_connection(make_sms: Any, twilio: FakeTwilio) -> None:
    sms = make_sms()
    for number in range(5):
        assert sms.send(event_id=f"evt_{number}").status == "sent"
    assert (twilio.requests, twilio.connections) == (5, 1)


@pytest.mark.parametrize(
    ("response", "status", "code"),
    [
        (fake.INVALID, "failed", "21211"),
        (fake.NOT_MOBILE, "failed", "21614"),
        (fake.TOO_MANY, "retrying", "20429"),
        (fake.BROKEN, "uncertain", "20500"),
        (fake.REFUSED_LOGIN, "retrying", "20003"),
    ],
    ids=lambda value: str(value.code) if isinstance(value, fake.TwilioResponse) else "",
)
def test_each_refusal_by_twilio_has_its_outcome(
    make_sms: Any, twilio: FakeTwilio, response: fake.TwilioResponse, status: str, code: str
) -> None:
    twilio.script = [response]
    record = make_sms().send()
    assert record.status == status
    assert code in record.error_message
    assert response.words in record.error_message
    assert (twilio.requests, twilio.texts) == (1, []), "the SDK repeats nothing by itself"


def test_a_number_that_unsubscribed_at_twilio_is_suppressed(make_sms: Any, twilio: FakeTwilio) -> None:
    twilio.script = [fake.UNSUBSCRIBED]
    sms = make_sms()
    refused, later = sms.send(), sms.send(event_id="evt_later")
    assert (refused.status, refused.error_message) == ("skipped", "suppressed")
    assert "21610" in refused.attempts[-1].detail
    assert (later.status, later.attempts[-1].detail) == ("skipped", "suppressed: stop")
    assert twilio.requests == 1


def test_receipts_are_requested_if_public_url_is_set(make_sms: Any, twilio: FakeTwilio) -> None:
    record = make_sms(public_url="https://tickets.example.com").send()
    address = f"https://tickets.example.com/notification/sms/status?delivery={record.id}&resend=0"
    assert twilio.texts[0]["StatusCallback"] == address
    make_sms().send(event_id="evt_2")
    assert "StatusCallback" not in twilio.texts[1]


def test_an_sms_that_replaces_a_mail_has_the_codes(make_sms: Any, twilio: FakeTwilio) -> None:
    tickets = [{"seat": f"A{number}", "code": f"TICKET-CODE-{number:020}"} for number in range(8)]
    sms = make_sms()
    record = sms.record(tickets=tickets, ticket_url="https://tickets.example.com/BOOK-1")
    Notification.objects(id=record.id).update_one(set__stands_in=True)
    sms.deliver(record)
    assert all(ticket["code"] in twilio.texts[0]["Body"] for ticket in tickets)


def test_a_rate_limited_sms_is_sent_later(make_sms: Any, twilio: FakeTwilio) -> None:
    twilio.script = [fake.TOO_MANY, fake.TOO_MANY]
    sms = make_sms()
    record = sms.record()
    assert [sms.deliver(record).status for _ in range(3)] == ["retrying", "retrying", "sent"]
    assert len(twilio.texts) == 1


@pytest.mark.parametrize(
    ("response", "timeout"),
    [(fake.HANG, 1.0), (fake.CUT, 30.0), (fake.GIBBERISH, 30.0)],
    ids=lambda value: str(value),
)
def test_a_request_without_a_response_is_uncertain_and_never_repeated(
    make_sms: Any, twilio: FakeTwilio, response: str, timeout: float
) -> None:
    sms = make_sms(twilio_timeout=timeout)
    twilio.script = [response]
    record = sms.send()
    assert record.status == "uncertain"
    assert "may have been sent" in record.error_message
    assert sms.deliver(record).status == "uncertain"
    assert len(twilio.texts) == twilio.requests == 1


def test_a_connection_lost_between_two_sms_is_reopened(make_sms: Any, twilio: FakeTwilio) -> None:
    sms = make_sms()
    twilio.script = [fake.TwilioResponse(), fake.CUT]
    assert [sms.send(event_id=f"evt_{number}").status for number in range(3)] == ["sent", "uncertain", "sent"]
    assert twilio.connections == 2


def test_an_unavailable_twilio_is_retried(make_sms: Any) -> None:
    record = make_sms(twilio_api_base=f"http://127.0.0.1:{free_port()}").send()
    assert record.status == "retrying"
    assert "could not be reached" in record.error_message


def test_a_server_with_an_untrusted_certificate_gets_no_sms(
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


def test_a_wrong_token_is_logged_as_an_error_and_the_sms_is_held(
    make_sms: Any, twilio: FakeTwilio, log_lines: Callable[[], list[dict[str, Any]]]
) -> None:
    record = make_sms(twilio_auth_token=SecretStr("wrong-token")).send()
    assert (record.status, record.retry_count) == ("retrying", 0)
    assert "TWILIO_AUTH_TOKEN" in record.error_message
    lines = log_lines()
    [loud] = [line for line in lines if line["level"] == "error"]
    assert loud["message"] == "no SMS can be sent until the settings are corrected"
    assert "wrong-token" not in f"{lines} {record.error_message}"


@pytest.mark.parametrize("number", ["+1415", "jane.doe@example.com", "4155550123"])
def test_an_invalid_number_fails_before_any_request(make_sms: Any, twilio: FakeTwilio, number: str) -> None:
    record = make_sms().send(user_phone=number)
    assert record.status == "failed"
    assert "the phone number is not valid" in record.error_message
    assert twilio.connections == 0


def test_sms_queued_before_sms_was_turned_off_fail(make_sms: Any, twilio: FakeTwilio) -> None:
    record = make_sms(sms_provider="none").send()
    assert (record.status, twilio.requests) == ("failed", 0)
    assert "SMS_PROVIDER" in record.error_message


def test_twilios_own_region_variable_is_ignored(
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


def test_every_event_sends_one_sms_on_either_broker(
    publish: Callable[[dict[str, Any]], None], twilio: FakeTwilio
) -> None:
    bookings = ("booking.confirmed", "booking.cancelled", "booking.refunded")
    payments = ("payment.success", "payment.failed", "payment.refund")
    for name in bookings + payments:
        # A different booking each, because a confirmation is not sent after the cancellation of its booking.
        event = sample(name) | {"event_id": f"evt_{name}", "booking_id": f"BOOK-{name}"}
        publish(event)
        publish(event)
    wait_for(
        lambda: Notification.objects(status__in=("sent", "skipped")).count() == 2 * len(bookings + payments),
        20,
        "not everything was sent",
    )
    assert (twilio.requests, len(twilio.texts)) == (6, 6)
    assert Notification.objects(notification_type="email", status="sent").count() == 6
