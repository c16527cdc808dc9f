"""A returned mail changes the delivery that it identifies, once, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from actors import deliveries
from app.bounces import intake
from app.bounces.intake import Door, Outcome, Taken, take
from app.channels import ChannelName
from app.clock import utcnow
from app.errors import ServiceUnavailable
from app.models import HandledBounce, Notification
from app.operations.notifications import requeue
from app.settings import Settings
from app.suppressions import make_suppressions
from tests.integration.bounces.conftest import MakeMail
from tests.support.bounces import RECIPIENT, VACATION, returned


def came(raw: bytes, settings: Settings) -> Taken:
    return take(raw, settings, Door.COMMAND)


def is_suppressed(settings: Settings) -> bool:
    return make_suppressions(settings).find(ChannelName.EMAIL, RECIPIENT) is not None


def test_unknown_user_is_recorded_and_suppressed(make_mail: MakeMail, stored_settings: Settings) -> None:
    mail = make_mail()
    taken = came(returned(), stored_settings)
    assert (taken.outcome, taken.notification_id) == (Outcome.RECORDED, str(mail.id))
    mail.reload()
    assert (mail.status, mail.error_message) == ("bounced", "550 5.1.1 User unknown")
    assert [each.outcome for each in mail.attempts] == ["bounced"]
    assert is_suppressed(stored_settings)


def test_full_mailbox_suppresses_with_the_second_mail(make_mail: MakeMail, stored_settings: Settings) -> None:
    make_mail()
    full: dict[str, Any] = {"status": "5.2.2", "reply": "552 5.2.2 over quota"}
    assert came(returned(**full), stored_settings).outcome is Outcome.RECORDED
    assert not is_suppressed(stored_settings)
    make_mail("evt_2", message_id="<two@movieapp.example.com>")
    came(returned(message_id="<two@movieapp.example.com>", **full), stored_settings)
    assert is_suppressed(stored_settings)


def test_rejection_by_a_spam_filter_marks_the_mail_and_suppresses_nobody(
    make_mail: MakeMail, stored_settings: Settings
) -> None:
    for number in range(3):
        message_id = f"<{number}@movieapp.example.com>"
        mail = make_mail(f"evt_{number}", message_id=message_id)
        blocked = returned(message_id=message_id, status="5.7.1", reply="550 5.7.1 rejected as spam")
        assert came(blocked, stored_settings).outcome is Outcome.RECORDED
        assert mail.reload().status == "bounced"
    assert not is_suppressed(stored_settings)


def test_same_report_twice_changes_nothing(make_mail: MakeMail, stored_settings: Settings) -> None:
    mail = make_mail()
    report = returned()
    came(report, stored_settings)
    before = mail.reload().to_mongo()
    assert came(report, stored_settings).outcome is Outcome.REPEATED
    assert mail.reload().to_mongo() == before


def test_same_report_from_eight_sources_at_once_is_recorded_once(
    make_mail: MakeMail, stored_settings: Settings
) -> None:
    mail = make_mail()
    report = returned()
    with ThreadPoolExecutor(8) as pool:
        outcomes = [taken.outcome for taken in pool.map(lambda _: came(report, stored_settings), range(8))]
    assert outcomes.count(Outcome.RECORDED) == 1
    assert set(outcomes) == {Outcome.RECORDED, Outcome.REPEATED}
    assert [each.outcome for each in mail.reload().attempts] == ["bounced"]


def test_late_copy_of_a_report_does_not_change_a_resent_mail(
    make_mail: MakeMail, stored_settings: Settings
) -> None:
    mail = make_mail()
    report = returned()
    came(report, stored_settings)
    assert requeue(mail.reload(), "resent")
    claimed = deliveries.claim(str(mail.id), utcnow() + timedelta(minutes=1))
    assert isinstance(claimed, Notification)
    deliveries.sent(claimed, utcnow())
    assert came(report, stored_settings).outcome is Outcome.REPEATED
    assert mail.reload().status == "sent"
    assert came(returned(), stored_settings).outcome is Outcome.RECORDED
    assert mail.reload().status == "bounced"


def test_report_before_the_delivery_is_recorded_as_sent(
    make_mail: MakeMail, stored_settings: Settings
) -> None:
    mail = make_mail(status="sending", sent_at=None, due_at=utcnow() + timedelta(minutes=3))
    assert came(returned(), stored_settings).outcome is Outcome.RECORDED
    deliveries.sent(mail, utcnow(), subject="Your booking")
    mail.reload()
    assert (mail.status, mail.subject) == ("bounced", "Your booking")
    assert mail.sent_at is not None
    assert deliveries.claim(str(mail.id), utcnow() + timedelta(minutes=1)) is None


@pytest.mark.parametrize("step", ["handle_bounce", "HandledBounce"])
def test_report_is_handled_again_if_the_process_dies_while_handling_it(
    make_mail: MakeMail, stored_settings: Settings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    mail = make_mail()
    report = returned()

    class Killed(BaseException):
        pass

    real = getattr(intake, step)

    class Dying:
        find_one = staticmethod(HandledBounce.find_one)

        def __new__(cls, *args: Any, **fields: Any) -> Any:
            if step == "handle_bounce":
                real(*args, **fields)
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(intake, step, Dying)
        came(report, stored_settings)
    assert came(report, stored_settings).outcome is Outcome.RECORDED
    assert [each.outcome for each in mail.reload().attempts] == ["bounced"]
    assert is_suppressed(stored_settings)
    assert came(report, stored_settings).outcome is Outcome.REPEATED


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({"recipient": "somebody@example.com"}, Outcome.CONTRADICTED),
        ({"message_id": "<forged@movieapp.example.com>", "recipient": "x@example.com"}, Outcome.UNMATCHED),
        ({"message_id": "<forged@movieapp.example.com>"}, Outcome.UNCONFIRMED),
        ({"message_id": None}, Outcome.UNCONFIRMED),
        ({"action": "delayed", "status": "4.4.1"}, Outcome.NO_BOUNCE),
    ],
)
def test_report_changes_only_the_mail_that_it_identifies(
    make_mail: MakeMail, stored_settings: Settings, changes: dict[str, Any], outcome: Outcome
) -> None:
    mail = make_mail()
    assert came(returned(**changes), stored_settings).outcome is outcome
    mail.reload()
    assert (mail.status, mail.error_message) == ("sent", None)
    assert not is_suppressed(stored_settings)
    # The record has one note for reports that name only the address, however many arrive.
    came(returned(**changes), stored_settings)
    noted = ["bounce_unconfirmed"] if outcome is Outcome.UNCONFIRMED else []
    assert [each.outcome for each in mail.reload().attempts] == noted


def test_old_mail_is_not_matched_by_its_address(make_mail: MakeMail, stored_settings: Settings) -> None:
    make_mail(sent_at=utcnow() - timedelta(days=8))
    assert came(returned(message_id=None), stored_settings).outcome is Outcome.UNMATCHED


@pytest.mark.parametrize(
    ("recipient", "named"),
    [
        ("Moviegoer@Example.com", "moviegoer@example.com"),
        ("abc..def@example.com", '"abc..def"@example.com'),
        ("moviegoer@straße.example.com", "moviegoer@xn--strae-oqa.example.com"),
    ],
)
def test_different_spellings_of_an_address_match(
    make_mail: MakeMail, stored_settings: Settings, recipient: str, named: str
) -> None:
    make_mail(recipient=recipient)
    assert came(returned(recipient=named), stored_settings).outcome is Outcome.RECORDED


def test_auto_reply_changes_nothing(make_mail: MakeMail, stored_settings: Settings) -> None:
    mail = make_mail()
    taken = came(VACATION, stored_settings)
    assert (taken.outcome, taken.what, taken.is_settled) == (Outcome.NO_BOUNCE, "auto_reply", True)
    assert mail.reload().status == "sent"


def test_without_mongodb_the_report_must_be_sent_again(
    make_mail: MakeMail, stored_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    mail = make_mail()
    report = returned()

    def lost(*_args: object, **_fields: object) -> None:
        raise ServiceUnavailable("The database is unavailable.")

    with monkeypatch.context() as patched, pytest.raises(ServiceUnavailable):
        patched.setattr(intake, "handle_bounce", lost)
        came(report, stored_settings)
    assert mail.reload().status == "sent"
    assert came(report, stored_settings).outcome is Outcome.RECORDED
