"""A matched bounce: the mail's record, the recipient's suppression, and the SMS that replaces the mail."""

from __future__ import annotations

from datetime import timedelta

import pytest

from actors import deliveries
from app import clock
from app.channels import ChannelName
from app.clock import utcnow
from app.feedback.bounces import handle_bounce
from app.models import Notification, Suppression
from app.settings import Settings
from app.suppressions import Result, make_suppressions
from tests.integration.feedback.conftest import MakeDelivery


def bounce(mail: Notification, settings: Settings, *, permanent: bool | None = True) -> Result | None:
    return handle_bounce(
        mail, settings, permanent=permanent, reply="550 5.1.1 no such user", source="test", now=utcnow()
    )


def sms_of(mail: Notification) -> list[Notification]:
    return list(Notification.objects(event_id=mail.event_id, notification_type="sms"))


@pytest.mark.parametrize("status", ["sent", "uncertain", "sending"])
def test_a_hard_bounce_is_recorded_and_suppresses(
    make_delivery: MakeDelivery, sms_settings: Settings, status: str
) -> None:
    mail = make_delivery(status=status)
    assert bounce(mail, sms_settings) is Result.ADDED
    found = mail.reload()
    assert (found.status, found.error_message) == ("bounced", "550 5.1.1 no such user")
    assert make_suppressions(sms_settings).find(ChannelName.EMAIL, mail.recipient) is not None


def test_a_repeated_bounce_changes_nothing(make_delivery: MakeDelivery, sms_settings: Settings) -> None:
    mail = make_delivery()
    bounce(mail, sms_settings)
    before = mail.reload().to_mongo()
    assert bounce(mail, sms_settings) is Result.KNOWN
    assert mail.reload().to_mongo() == before
    assert len(sms_of(mail)) <= 1


def test_a_bounce_before_the_delivery_is_recorded_as_sent_stays(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery(status="sending", due_at=utcnow() + timedelta(minutes=3))
    bounce(mail, sms_settings)
    sent_at = utcnow()
    deliveries.sent(mail, sent_at, subject="Your booking")
    found = mail.reload()
    assert (found.status, found.sent_at, found.subject) == ("bounced", sent_at, "Your booking")
    assert found.due_at is None


def test_a_bounce_does_not_change_a_delivery_that_an_operator_resends(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery(status="queued")
    bounce(mail, sms_settings)
    assert mail.reload().status == "queued"


def test_a_bounce_settles_the_mail_of_a_killed_worker(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery(status="queued", abandoned=1)
    bounce(mail, sms_settings)
    assert mail.reload().status == "bounced"


def test_two_soft_bounces_suppress_and_one_does_not(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    first, second = make_delivery(), make_delivery()
    assert bounce(first, sms_settings, permanent=False) is Result.NOTED
    assert bounce(first, sms_settings, permanent=False) is Result.NOTED
    assert bounce(second, sms_settings, permanent=False) is Result.ADDED


@pytest.mark.parametrize("permanent", [None, False])
def test_a_bounce_that_suppresses_nobody_pauses_suppression_too(
    make_delivery: MakeDelivery, sms_settings: Settings, permanent: bool | None
) -> None:
    mails = [make_delivery({"user_email": f"guest{number}@example.com"}) for number in range(11)]
    for mail in mails[:9]:
        assert bounce(mail, sms_settings) is Result.ADDED
    for mail in mails[9:]:
        assert bounce(mail, sms_settings, permanent=permanent) is Result.PAUSED
    assert Suppression.objects.count() == 0


def test_soft_bounces_around_a_pause_do_not_count_later(
    make_delivery: MakeDelivery, sms_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses = [f"guest{number}@example.com" for number in range(12)]
    results = [
        bounce(make_delivery({"user_email": address}), sms_settings, permanent=False) for address in addresses
    ]
    assert results == [Result.NOTED] * 9 + [Result.PAUSED] * 3
    later = utcnow() + timedelta(days=2)
    monkeypatch.setattr(clock, "source", lambda: later)
    for address in (addresses[0], addresses[-1]):  # before and during the pause
        mail = make_delivery({"user_email": address})
        assert bounce(mail, sms_settings, permanent=False) is Result.NOTED
    assert Suppression.objects.count() == 0


def test_a_bounce_that_suppresses_nobody_has_no_result_below_the_threshold(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    assert bounce(make_delivery(), sms_settings, permanent=None) is None


def test_an_event_without_a_phone_is_sent_to_the_phone_of_its_booking(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery({"user_phone": None})
    make_delivery(mail.event_data, notification_type="sms", status="skipped", recipient=None)
    make_delivery({"user_phone": "+14155550123", "event_type": "payment.success"})
    bounce(mail, sms_settings)
    [sms] = sms_of(mail)
    assert (sms.status, sms.recipient, sms.stands_in) == ("queued", "+14155550123", True)
    assert sms.error_message is None
    bounce(mail, sms_settings)
    assert len(sms_of(mail)[0].attempts) == 1, "queued once"


def test_the_phone_of_another_users_booking_is_not_used(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery({"user_phone": None})
    make_delivery({"user_phone": "+14155550123", "user_id": "somebody else"})
    bounce(mail, sms_settings)
    assert sms_of(mail) == []


def test_an_event_from_before_sms_was_enabled_gets_its_sms(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    mail = make_delivery({"user_phone": "+14155550123"})
    bounce(mail, sms_settings)
    [sms] = sms_of(mail)
    assert (sms.status, sms.recipient, sms.stands_in) == ("queued", "+14155550123", True)
    queued: list[str] = []
    deliveries.requeue_overdue(lambda found: queued.append(str(found.id)))
    assert queued == [str(sms.id)], "the sweep queues it at once"


@pytest.mark.parametrize("status", ["sent", "delivered", "queued", "failed", "undelivered", "uncertain"])
def test_an_event_with_an_sms_gets_no_second_sms(
    make_delivery: MakeDelivery, sms_settings: Settings, status: str
) -> None:
    mail = make_delivery({"user_phone": "+14155550123"})
    make_delivery(mail.event_data, notification_type="sms", status=status, recipient="+14155550123")
    bounce(mail, sms_settings)
    assert [sms.status for sms in sms_of(mail)] == [status]


def test_sms_is_not_queued_if_sms_is_off_or_the_message_is_about_money(
    make_delivery: MakeDelivery, sms_settings: Settings
) -> None:
    receipt = make_delivery({"user_phone": "+14155550123", "event_type": "payment.success"})
    bounce(receipt, sms_settings)
    mail = make_delivery({"user_phone": "+14155550123"})
    bounce(mail, sms_settings.model_copy(update={"sms_provider": "none"}))
    assert Notification.objects(notification_type="sms").count() == 0
