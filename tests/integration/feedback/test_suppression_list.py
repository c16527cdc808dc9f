"""The suppression list: keys, reasons, expiry, soft bounces, and the pause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app import clock
from app.channels import ChannelName
from app.models import SoftBounce, Suppression
from app.settings import Settings
from app.suppressions import Result, SuppressionReason, Suppressions, make_suppressions
from app.suppressions.store import LIFTED_BY_START
from tests.integration.feedback.conftest import MakeDelivery

EMAIL, SMS = ChannelName.EMAIL, ChannelName.SMS
HARD, SOFT, STOP, OPERATOR = (
    SuppressionReason.HARD_BOUNCE,
    SuppressionReason.SOFT_BOUNCES,
    SuppressionReason.STOP,
    SuppressionReason.OPERATOR,
)
NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def entries(sms_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Suppressions:
    monkeypatch.setattr(clock, "source", lambda: NOW)
    return make_suppressions(sms_settings)


def add(entries: Suppressions, address: str, reason: SuppressionReason = HARD, now: datetime = NOW) -> Result:
    return entries.suppress(EMAIL, address, reason=reason, source="test", now=now)


def test_a_suppressed_address_is_found_in_every_spelling(entries: Suppressions) -> None:
    assert add(entries, "Jane.Doe@Example.com") is Result.ADDED
    found = entries.find(EMAIL, " jane.doe@EXAMPLE.COM")
    assert found is not None
    assert (found.reason, found.hint, found.expires_at) == ("hard_bounce", "…@example.com", NOW + 90 * DAY)
    assert entries.find(SMS, "jane.doe@example.com") is None
    assert entries.find(EMAIL, "janedoe@example.com") is None


def test_addresses_are_stored_only_as_hashes(entries: Suppressions) -> None:
    add(entries, "jane.doe@example.com")
    entries.note_soft_bounce(EMAIL, "jane.doe@example.com", delivery="1", source="test", now=NOW)
    entries.suppress(SMS, "+14155550123", reason=STOP, source="test", now=NOW)
    stored = str([each.to_mongo() for each in [*Suppression.objects, *SoftBounce.objects]])
    assert "jane" not in stored
    assert "4155550" not in stored


def test_an_entry_expires(entries: Suppressions, monkeypatch: pytest.MonkeyPatch) -> None:
    add(entries, "jane@example.com")
    monkeypatch.setattr(clock, "source", lambda: NOW + 90 * DAY)
    assert entries.find(EMAIL, "jane@example.com") is None
    assert add(entries, "jane@example.com", now=NOW + 90 * DAY) is Result.ADDED
    assert entries.find(EMAIL, "jane@example.com") is not None


def test_a_repeated_report_extends_the_entry(entries: Suppressions) -> None:
    add(entries, "jane@example.com")
    assert add(entries, "jane@example.com", now=NOW + DAY) is Result.KNOWN
    assert add(entries, "jane@example.com", now=NOW - DAY) is Result.KNOWN
    found = entries.find(EMAIL, "jane@example.com")
    assert (found.created_at, found.expires_at) == (NOW, NOW + 91 * DAY)


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (SOFT, HARD, HARD),
        (HARD, SOFT, HARD),
        (HARD, STOP, STOP),
        (STOP, HARD, STOP),
        (OPERATOR, STOP, OPERATOR),
    ],
)
def test_a_stronger_reason_replaces_a_weaker_one(
    entries: Suppressions, first: SuppressionReason, second: SuppressionReason, kept: SuppressionReason
) -> None:
    add(entries, "jane@example.com", first)
    add(entries, "jane@example.com", second)
    assert entries.find(EMAIL, "jane@example.com").reason == kept


def test_the_second_soft_bounce_within_a_week_suppresses(entries: Suppressions) -> None:
    def bounce(delivery: str, now: datetime) -> Result:
        return entries.note_soft_bounce(EMAIL, "jane@example.com", delivery=delivery, source="test", now=now)

    assert bounce("first", NOW - 8 * DAY) is Result.NOTED
    assert bounce("second", NOW - DAY) is Result.NOTED
    assert bounce("second", NOW) is Result.NOTED, "one bounce reported twice"
    assert entries.find(EMAIL, "jane@example.com") is None
    assert bounce("third", NOW) is Result.ADDED
    assert entries.find(EMAIL, "jane@example.com").reason == "soft_bounces"


def test_lifting_a_suppression_deletes_soft_bounces_too(entries: Suppressions) -> None:
    for number in ("1", "2"):
        entries.note_soft_bounce(EMAIL, "jane@example.com", delivery=number, source="test", now=NOW)
    assert entries.lift(EMAIL, "Jane@example.com", by="support")
    assert not entries.lift(EMAIL, "jane@example.com", by="support")
    assert entries.find(EMAIL, "jane@example.com") is None
    again = entries.note_soft_bounce(EMAIL, "jane@example.com", delivery="3", source="test", now=NOW)
    assert again is Result.NOTED


def test_only_an_operator_lifts_a_suppression_by_an_operator(entries: Suppressions) -> None:
    add(entries, "jane@example.com", OPERATOR)
    assert not entries.lift(EMAIL, "jane@example.com", by="START", reasons=LIFTED_BY_START)
    assert entries.lift(EMAIL, "jane@example.com", by="support")


def test_a_different_key_finds_no_entry(entries: Suppressions, sms_settings: Settings) -> None:
    add(entries, "jane@example.com")
    other = Suppressions(b"another key", timedelta(days=1))
    assert other.find(EMAIL, "jane@example.com") is None


def test_suppression_is_paused_while_too_many_messages_bounce(
    entries: Suppressions, make_delivery: MakeDelivery
) -> None:
    add(entries, "early@example.com", now=NOW - timedelta(minutes=30))
    add(entries, "old@example.com", now=NOW - DAY)
    for number in range(50):
        bounced = {"status": "bounced", "returned_at": NOW} if number < 10 else {}
        make_delivery(created_at=NOW, **bounced)
    assert add(entries, "jane@example.com") is Result.PAUSED
    assert entries.find(EMAIL, "jane@example.com") is None
    assert entries.find(EMAIL, "early@example.com") is None, "withdrawn: it bounced in the same hour"
    assert entries.find(EMAIL, "old@example.com") is not None
    assert add(entries, "jane@example.com", STOP) is Result.ADDED, "a person's own wish is no bounce"
    phone = entries.suppress(SMS, "+14155550123", reason=HARD, source="test", now=NOW)
    assert phone is Result.ADDED, "the other channel works"


def test_a_pause_keeps_soft_bounces_of_other_hours_and_of_the_other_channel(
    entries: Suppressions, make_delivery: MakeDelivery
) -> None:
    def bounce(channel: ChannelName, address: str, delivery: str, now: datetime) -> Result:
        return entries.note_soft_bounce(channel, address, delivery=delivery, source="test", now=now)

    bounce(EMAIL, "old@example.com", "1", NOW - DAY)
    bounce(SMS, "+14155550123", "2", NOW - timedelta(minutes=30))
    bounce(EMAIL, "early@example.com", "3", NOW - timedelta(minutes=30))
    for _ in range(10):
        make_delivery(created_at=NOW, status="bounced", returned_at=NOW)
    assert bounce(EMAIL, "jane@example.com", "4", NOW) is Result.PAUSED
    later = NOW + DAY
    assert bounce(EMAIL, "old@example.com", "5", later) is Result.ADDED
    assert bounce(SMS, "+14155550123", "6", later) is Result.ADDED
    assert bounce(EMAIL, "early@example.com", "7", later) is Result.NOTED


@pytest.mark.parametrize(("bounced", "accepted"), [(9, 9), (10, 101)])
def test_a_normal_bounce_rate_does_not_pause_suppression(
    entries: Suppressions, make_delivery: MakeDelivery, bounced: int, accepted: int
) -> None:
    for number in range(accepted):
        created = {"status": "bounced", "returned_at": NOW} if number < bounced else {}
        make_delivery(created_at=NOW, **created)
    assert add(entries, "jane@example.com") is Result.ADDED
