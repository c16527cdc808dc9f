"""Twilio's callbacks: receipts in any order, replies, and refusals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from pydantic import SecretStr

from actors import deliveries
from app import create_app
from app.channels import ChannelName
from app.clock import utcnow
from app.models import Notification
from app.settings import Settings
from app.suppressions import SuppressionReason, Suppressions, make_suppressions
from tests.integration.feedback.conftest import MakeDelivery
from tests.integration.test_sms import Sms, with_twilio
from tests.support import twilio as fake
from tests.support.twilio import FakeTwilio, post_signed

BASE = "https://tickets.example.com"
PHONE = "+14155550123"
SID = "SM0123456789abcdef0123456789abcdef"
STATUS, INBOUND = "/notification/sms/status", "/notification/sms/inbound"


@pytest.fixture
def settings_here(sms_settings: Settings, twilio: FakeTwilio) -> Settings:
    return with_twilio(sms_settings, twilio, public_url=BASE)


@pytest.fixture
def client(settings_here: Settings) -> Iterator[FlaskClient]:
    app = create_app(settings_here)
    yield app.test_client()
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def entries(settings_here: Settings) -> Suppressions:
    return make_suppressions(settings_here)


@pytest.fixture
def sms(settings_here: Settings, twilio: FakeTwilio) -> Iterator[Sms]:
    created = Sms(settings_here)
    yield created
    created.close()


def receive(client: FlaskClient, status: str, address: str = STATUS, **fields: str) -> None:
    """A receipt as Twilio sends it."""
    whole = {"MessageSid": SID, "MessageStatus": status, "To": PHONE} | fields
    assert post_signed(client, BASE, address, **whole).status_code == 204


def address_of(sms: Notification, resend: int = 0) -> str:
    return f"{STATUS}?delivery={sms.id}&resend={resend}"


@pytest.fixture
def make_sms(make_delivery: MakeDelivery) -> Any:
    def make(**fields: Any) -> Notification:
        defaults = {"notification_type": "sms", "recipient": PHONE, "message_id": SID}
        return make_delivery(**(defaults | fields))

    return make


def test_a_delivered_receipt_is_recorded(client: FlaskClient, make_sms: Any) -> None:
    sms = make_sms()
    receive(client, "delivered")
    assert (sms.reload().status, sms.error_message) == ("delivered", None)
    assert [attempt.outcome for attempt in sms.attempts] == ["delivered"]


def test_an_undelivered_receipt_is_recorded_with_its_reason(
    client: FlaskClient, make_sms: Any, entries: Suppressions
) -> None:
    sms = make_sms()
    receive(client, "undelivered", ErrorCode="30003")
    assert sms.reload().status == "undelivered"
    assert (
        sms.error_message
        == "not delivered, error 30003: the phone is off, out of coverage, or can't receive messages now"
    )
    assert sms.returned_at is not None
    assert entries.find(ChannelName.SMS, PHONE) is None


@pytest.mark.parametrize(("code", "reason"), [("30006", "hard_bounce"), ("21610", "stop")])
def test_a_number_that_cannot_receive_messages_is_suppressed(
    client: FlaskClient, make_sms: Any, entries: Suppressions, code: str, reason: str
) -> None:
    make_sms()
    receive(client, "failed", ErrorCode=code)
    assert entries.find(ChannelName.SMS, PHONE).reason == reason


@pytest.mark.parametrize("code", ["30003", "21610"])
def test_a_receipt_that_suppresses_nobody_pauses_suppression_too(
    client: FlaskClient, make_sms: Any, entries: Suppressions, code: str
) -> None:
    for _ in range(9):
        make_sms(message_id=None, status="undelivered", returned_at=utcnow())
    hard = SuppressionReason.HARD_BOUNCE
    entries.suppress(ChannelName.SMS, "+14155550199", reason=hard, source="test", now=utcnow())
    make_sms()
    receive(client, "undelivered", ErrorCode=code)
    assert entries.find(ChannelName.SMS, "+14155550199") is None


@pytest.mark.parametrize(
    ("order", "ends"),
    [
        (("sent", "delivered", "delivered"), "delivered"),
        (("delivered", "sent", "queued"), "delivered"),
        (("undelivered", "sent", "undelivered"), "undelivered"),
        (("undelivered", "delivered"), "delivered"),
        (("delivered", "undelivered"), "delivered"),
    ],
)
def test_receipts_are_accepted_twice_and_in_any_order(
    client: FlaskClient, make_sms: Any, order: tuple[str, ...], ends: str
) -> None:
    sms = make_sms()
    for status in order:
        receive(client, status)
    assert sms.reload().status == ends
    assert len(sms.attempts) == len(set(order) & {"delivered", "undelivered"}) - (
        order[0] == "delivered" and "undelivered" in order
    )


def test_a_receipt_before_the_delivery_is_recorded_as_sent_stays(client: FlaskClient, make_sms: Any) -> None:
    sms = make_sms(status="sending", message_id=None, due_at=utcnow() + timedelta(minutes=2))
    receive(client, "delivered", address_of(sms))
    sent_at = utcnow()
    deliveries.sent(sms, sent_at, message_id=SID, segments=2)
    sms.reload()
    assert (sms.status, sms.sent_at, sms.message_id, sms.segments) == ("delivered", sent_at, SID, 2)
    assert sms.due_at is None


@pytest.mark.parametrize("answer", [fake.BROKEN, fake.CUT, fake.GIBBERISH], ids=str)
def test_an_uncertain_sms_is_settled_by_its_receipt(
    client: FlaskClient, sms: Sms, twilio: FakeTwilio, answer: Any
) -> None:
    twilio.script = [answer]
    record = sms.send()
    assert record.status == "uncertain"
    address = f"{STATUS}?delivery={record.id}&resend=0"
    receive(client, "sent", address)
    assert (record.reload().status, record.message_id, record.error_message) == ("sent", SID, None)
    receive(client, "delivered", address)
    assert record.reload().status == "delivered"
    assert sms.deliver(record).status == "delivered"
    assert twilio.requests == 1, "never a second message"


def test_a_receipt_prevents_a_resend_of_a_killed_workers_sms(
    client: FlaskClient, sms: Sms, twilio: FakeTwilio
) -> None:
    record = sms.record()
    assert isinstance(deliveries.claim(str(record.id), utcnow() + timedelta(minutes=2)), Notification)
    # Accepted by Twilio; the worker is killed before it can record that, and the sweep queues the delivery.
    Notification.objects(id=record.id).update_one(set__due_at=utcnow() - timedelta(seconds=1))
    assert deliveries.requeue_overdue(lambda _: None) == 1
    receive(client, "queued", address_of(record))
    assert sms.deliver(record).status == "sent"
    assert twilio.requests == 0


def test_a_late_receipt_of_an_earlier_message_does_not_change_a_resend(
    client: FlaskClient, make_sms: Any
) -> None:
    sms = make_sms(status="sending", resends=1, message_id=None)
    receive(client, "delivered", address_of(sms, resend=0))
    assert sms.reload().status == "sending"
    receive(client, "delivered", address_of(sms, resend=1))
    assert sms.reload().status == "delivered"


@pytest.mark.parametrize(
    "fields",
    [{"MessageSid": "SM999"}, {"MessageSid": "../x"}, {"MessageStatus": "teleported"}, {"ErrorCode": "many"}],
)
def test_an_unknown_receipt_is_accepted_and_changes_nothing(
    client: FlaskClient, make_sms: Any, fields: dict[str, str]
) -> None:
    sms = make_sms(status="failed")
    receive(client, "delivered", **fields)
    assert sms.reload().status == "failed"


def test_a_receipt_does_not_change_a_mail(client: FlaskClient, make_delivery: MakeDelivery) -> None:
    mail = make_delivery()
    receive(client, "delivered", address_of(mail))
    assert mail.reload().status == "sent"


@pytest.mark.parametrize("address", [STATUS, INBOUND])
def test_a_bad_signature_is_refused(client: FlaskClient, address: str) -> None:
    fields = {"From": PHONE, "Body": "STOP", "MessageSid": SID, "MessageStatus": "delivered"}
    for response in (
        client.post(address, data=fields),
        post_signed(client, BASE, address, token="another", **fields),
        post_signed(client, "https://elsewhere.example.com", address, **fields),
        client.post(address, json=fields),
    ):
        assert response.status_code == 403
        assert response.json["error"]["code"] == "FORBIDDEN"


def test_forged_callbacks_are_limited_and_valid_ones_are_not(settings_here: Settings, make_sms: Any) -> None:
    changes = {"ratelimit_enabled": True, "ratelimit_failures": "2 per minute"}
    app = create_app(settings_here.model_copy(update=changes))
    client, sms = app.test_client(), make_sms()
    assert [client.post(STATUS).status_code for _ in range(3)] == [403, 403, 429]
    receive(client, "delivered")
    assert sms.reload().status == "delivered"
    app.extensions["movieapp"].relay.close()


def test_callbacks_are_refused_without_twilio(settings_here: Settings) -> None:
    changes = {"sms_provider": "none", "twilio_auth_token": SecretStr("")}
    app = create_app(settings_here.model_copy(update=changes))
    assert post_signed(app.test_client(), BASE, STATUS, token="", MessageSid=SID).status_code == 403
    app.extensions["movieapp"].relay.close()


def send_reply(client: FlaskClient, text: str, **fields: str) -> str:
    whole = {"From": PHONE, "To": fake.SENDER, "Body": text} | fields
    response = post_signed(client, BASE, INBOUND, **whole)
    assert (response.status_code, response.mimetype) == (200, "text/xml")
    return response.get_data(as_text=True).partition("?>")[2]


def test_stop_suppresses_a_number_and_start_lifts_the_suppression(
    client: FlaskClient, entries: Suppressions
) -> None:
    assert send_reply(client, "Stop") == "<Response />", "Twilio replies itself"
    assert entries.find(ChannelName.SMS, PHONE).reason == "stop"
    assert send_reply(client, "start") == "<Response />"
    assert entries.find(ChannelName.SMS, PHONE) is None


def test_a_keyword_unknown_to_twilio_gets_a_reply_in_its_language(
    client: FlaskClient, entries: Suppressions
) -> None:
    answer = send_reply(client, "Stopp")
    assert "Sie erhalten keine Nachrichten mehr" in answer
    assert entries.find(ChannelName.SMS, PHONE) is not None
    assert "wieder Nachrichten" in send_reply(client, "Starten")
    assert "Hilfe" not in send_reply(client, "Hilfe")


def test_movieapp_replies_on_short_codes(client: FlaskClient) -> None:
    assert "Reply START" in send_reply(client, "STOP", To="40404")


def test_advanced_opt_out_handles_keywords_and_replies(client: FlaskClient, entries: Suppressions) -> None:
    assert send_reply(client, "no more of this", OptOutType="STOP") == "<Response />"
    assert entries.find(ChannelName.SMS, PHONE) is not None


def test_start_does_not_lift_a_suppression_by_an_operator(client: FlaskClient, entries: Suppressions) -> None:
    entries.suppress(ChannelName.SMS, PHONE, reason=SuppressionReason.OPERATOR, source="test", now=utcnow())
    send_reply(client, "START")
    assert entries.find(ChannelName.SMS, PHONE) is not None


@pytest.mark.parametrize(("text", "number"), [("Where are my seats?", PHONE), ("STOP", "whatsapp:+1415")])
def test_other_messages_get_no_reply_and_change_nothing(
    client: FlaskClient, entries: Suppressions, text: str, number: str
) -> None:
    assert send_reply(client, text, From=number) == "<Response />"
    assert entries.find(ChannelName.SMS, number) is None
