"""A suppressed recipient gets no mail but the codes by SMS; a forced mail is sent once."""

from __future__ import annotations

from typing import Any

import pytest

from app.channels import ChannelName
from app.clock import utcnow
from app.messaging.dispatch import Dispatch
from app.models import Notification
from app.operations import notifications
from app.operations.audit import Operator, Surface
from app.settings import Settings
from app.suppressions import SuppressionReason, make_suppressions
from tests.support.actors import StubWorker, confirmation, sweep
from tests.support.mail import MailSink

OPERATOR = Operator("support@ops-1", Surface.CLI)
PHONE = "+14155550123"


def suppress(settings: Settings, channel: ChannelName, address: str) -> None:
    make_suppressions(settings).suppress(
        channel, address, reason=SuppressionReason.HARD_BOUNCE, source="test", now=utcnow()
    )


def settled(channel: str, status: str) -> list[Notification]:
    return list(Notification.objects(notification_type=channel, status=status))


@pytest.fixture
def stub(make_stub: Any) -> StubWorker:
    created: StubWorker = make_stub(sms_provider="console", sms_countries=("any",))
    return created


def test_a_suppressed_mail_is_skipped_and_its_booking_is_sent_by_sms(
    stub: StubWorker, stored_settings: Settings, mail_sink: MailSink
) -> None:
    first = confirmation(event_id="evt_first", user_phone=PHONE)
    suppress(stored_settings, ChannelName.EMAIL, first["user_email"].upper())
    stub.publish(first)
    [mail] = settled("email", "skipped")
    assert mail.error_message == "suppressed"
    assert len(settled("sms", "sent")) == 1
    # The event has no phone number, but the booking does.
    later = confirmation(event_id="evt_later", event_type="booking.updated", user_phone=None)
    stub.publish(later | {"previous": {"showtime": "2999-12-14T20:00:00-05:00"}})
    sweep(stub)
    sms = settled("sms", "sent")
    assert len(sms) == 2
    assert {each.recipient for each in sms} == {PHONE}
    assert [each.stands_in for each in sms if each.event_id == "evt_later"] == [True]
    assert mail_sink.mails == []


def test_a_forced_resend_bypasses_the_suppression_once(
    stub: StubWorker, stored_settings: Settings, mail_sink: MailSink
) -> None:
    event = confirmation()
    suppress(stored_settings, ChannelName.EMAIL, event["user_email"])
    stub.publish(event)
    [mail] = settled("email", "skipped")
    dispatch = Dispatch(stub.broker, stub.topology)

    def resend(**options: bool) -> None:
        assert notifications.resend(str(mail.id), dispatch, OPERATOR, **options) is None
        stub.join()

    resend(past_suppression=True)
    assert len(settled("email", "sent")) == 1
    assert len(mail_sink.mails) == 1
    Notification.objects(id=mail.id).update_one(set__status="failed")
    resend(again=True)
    assert settled("email", "skipped")[0].error_message == "suppressed"
    assert len(mail_sink.mails) == 1
