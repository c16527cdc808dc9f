"""`movieapp privacy`: the data about a person is exported and erased, and stays erased."""

from __future__ import annotations

import json
import unicodedata
from contextlib import closing
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
import redis

from actors.event_status import EventStatus
from actors.notify import Notify
from actors.reminders import Reminders
from app import models
from app.abuse.attempts import make_guard
from app.channels import ChannelName
from app.clock import iso, utcnow
from app.errors import InvalidRequest
from app.events.samples import sample
from app.messaging.dead_letters import open_dead_letters
from app.models import Attempt, Move, Notification, OperatorAction, Refund, Transaction, database
from app.operations import notifications
from app.operations.audit import Operator, Surface
from app.operations.dead_letters import Selection, find
from app.operations.privacy import Erased, Privacy
from app.payments.ledger.mongo import MongoLedger
from app.privacy.erasures import Erasures, Person, make_erasures
from tests.support.commands import movieapp
from tests.support.dead_letters import bury

if TYPE_CHECKING:
    from app.settings import Settings

EMAIL, PHONE, NAME, USER = "Jane.Doe@Example.com", "+14155550100", "Jane Q. Doe", "user_jane"
OLD = iso(utcnow() - timedelta(days=3))
OPERATOR = Operator("support@ops-1", Surface.CLI)
QUEUE = "notification.booking_events"
PAYMENT = "TXN-7c6b5a49382716059483726150493827"


def event(event_id: str = "evt_1", **fields: Any) -> dict[str, Any]:
    personal = {"user_id": USER, "user_email": EMAIL, "user_phone": PHONE, "user_name": NAME}
    old = {"event_id": event_id, "timestamp": OLD}
    return sample("booking.cancelled") | personal | old | {"booking_id": "BOOK-1"} | fields


@pytest.fixture
def customer(redis_settings: Settings) -> Settings:
    """A customer with a payment, an email, an SMS, a dead letter, and declines; and another customer."""
    models.connect(redis_settings)
    long_ago = utcnow() - timedelta(days=3)
    for transaction_id, booking, user, email in (
        (PAYMENT, "BOOK-1", USER, EMAIL),
        ("TXN-other", "BOOK-2", "user_john", "john@example.com"),
    ):
        Transaction(
            id=transaction_id,
            revision=1,
            status="completed",
            booking_id=booking,
            user_id=user,
            amount=Decimal("25.50"),
            currency="USD",
            payment_method="credit_card",
            contact={"user_email": email, "user_phone": PHONE, "user_name": NAME},
            metadata={"note": NAME},
            refunds=[
                Refund(
                    id=f"REF-{user}", status="completed", amount=Decimal(5), reason=NAME, created_at=long_ago
                )
            ],
            refund_reserved=Decimal(5),
            history=[Move(at=long_ago, status="completed", actor="api")],
            created_at=long_ago,
        ).insert()
    for number, (recipient, channel, status) in enumerate(
        ((EMAIL.lower(), "email", "failed"), (PHONE, "sms", "queued"), ("john@example.com", "email", "sent"))
    ):
        reply = f"550 5.1.1 <{recipient}>: user unknown"
        own = recipient != "john@example.com"
        about = event() if own else event("evt_john", user_email=recipient, user_id="user_john")
        Notification(
            event_id=f"evt_{1 if own else 'john'}",
            event_type="booking.cancelled",
            notification_type=channel,
            status=status,
            booking_id="BOOK-1" if own else "BOOK-2",
            recipient=recipient,
            subject=f"{NAME}, your booking",
            event_data=about,
            created_at=long_ago,
            error_message=reply,
            attempts=[Attempt(at=long_ago, outcome=status, detail=reply)] if number == 0 else [],
        ).insert()
    bury(
        redis_settings,
        QUEUE,
        [json.dumps(event("evt_dead")).encode(), json.dumps({"event_id": "x"}).encode()],
    )
    guard = make_guard(redis_settings)
    attempt = guard.begin("TXN-x", booking_id="BOOK-1", user_id=USER, customer_ip=None, token=None)
    guard.record_decline(attempt._subjects, None, None, "BOOK-1", "TXN-x")
    return redis_settings


def erase(settings: Settings, person: Person, *, dry_run: bool = False) -> Erased:
    return Privacy(settings).erase(person, OPERATOR, dry_run=dry_run)


def everything(settings: Settings) -> str:
    """Return the content of MongoDB, the dead letters, and Redis as text."""
    collections = [list(database()[name].find()) for name in database().list_collection_names()]
    with closing(open_dead_letters(settings)) as letters:
        bodies = [case.letter.body for case in find(letters, [settings.namespace + QUEUE], Selection())]
    with redis.Redis.from_url(settings.redis_url) as store:
        keys = sorted(store.scan_iter(f"{settings.namespace}*"))
    return f"{collections} {bodies} {keys}"


@pytest.mark.parametrize("who", [Person((USER,)), Person(emails=("jane.doe@EXAMPLE.com",))], ids=str)
def test_a_person_is_erased_and_accounting_data_stays(customer: Settings, who: Person) -> None:
    before = MongoLedger().find(PAYMENT)
    report = erase(customer, who)
    assert (report.transactions, len(report.notifications), len(report.dead_letters)) == (
        [PAYMENT],
        2,
        1,
    )
    left = everything(customer).lower()
    assert EMAIL.lower() not in left
    after = MongoLedger().find(PAYMENT)
    assert before is not None
    assert after is not None
    books = ("id", "status", "booking_id", "user_id", "amount", "currency", "refund_reserved", "created_at")
    assert [getattr(after, name) for name in books] == [getattr(before, name) for name in books]
    assert [(one.id, one.amount, one.status) for one in after.refunds] == [
        (one.id, one.amount, one.status) for one in before.refunds
    ]
    assert (dict(after.contact), dict(after.metadata), after.refunds[0].reason) == ({}, {}, "erased")
    assert after.history[-1].status == "personal_data_erased"
    email = Notification.objects.get(event_id="evt_1", notification_type="email")
    assert (email.recipient, email.subject, email.status) == (None, None, "failed")
    assert (email.error_message, email.attempts[0].detail) == ("550 5.1.1 (erased)", "550 5.1.1 (erased)")
    assert Notification.objects.get(event_id="evt_1", notification_type="sms").status == "skipped"
    # The other customer's records are unchanged.
    assert MongoLedger().find("TXN-other").contact["user_email"] == "john@example.com"
    assert Notification.objects.get(event_id="evt_john").recipient == "john@example.com"
    [action] = OperatorAction.objects(action="privacy.erase")
    assert "jane" not in str(action.to_mongo()).lower().replace("user_jane", "")
    assert erase(customer, who).left == {}, "and again changes nothing"
    assert MongoLedger().find(PAYMENT) == after


def test_a_replayed_old_event_is_redacted_and_a_new_one_is_not(customer: Settings) -> None:
    erase(customer, Person(emails=(EMAIL,)))
    with redis.Redis.from_url(customer.redis_url, decode_responses=True) as store:
        notify = Notify(
            {ChannelName.EMAIL: Unused()},  # type: ignore[dict-item]
            lambda _: False,
            lambda *_, **__: None,  # type: ignore[arg-type]
            EventStatus(store, customer.namespace),
            Reminders(timedelta(hours=3)),
            make_erasures(customer),
        )
        notify(event("evt_replayed"))
        notify(event())  # its record was redacted, but it is still the same event
        notify(event("evt_new", timestamp=iso(utcnow() + timedelta(seconds=5))))
    old = Notification.objects.get(event_id="evt_replayed")
    assert (old.status, old.recipient) == ("skipped", None)
    assert EMAIL not in str(old.event_data)
    assert Notification.objects.get(event_id="evt_new").recipient == EMAIL


class Sender:
    """Dispatcher that only names messages."""

    lease = timedelta(minutes=1)
    is_quick = False

    def message_id(self, event_id: str) -> str:
        return f"<{event_id}@movies.example>"


class Unused:
    """A channel whose messages are queued, not sent."""

    sender = Sender()


def test_an_event_that_decomposes_a_bookings_id_is_erased_with_its_payment(customer: Settings) -> None:
    Transaction.objects(id=PAYMENT).update_one(set__booking_id="BOOK-\u00e9")
    Notification.objects(event_id="evt_john").update_one(set__booking_id="BOOK-e\u0301")
    assert len(erase(customer, Person((USER,))).notifications) == 3


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_user_id_is_found_in_every_unicode_form(customer: Settings, form: Literal["NFC", "NFD"]) -> None:
    composed, decomposed = (unicodedata.normalize(each, "Am\u00e9lie") for each in ("NFC", "NFD"))
    Transaction.objects(id=PAYMENT).update_one(set__user_id=composed, set__booking_id="BOOK-5")
    Notification.objects(event_id="evt_1").update(set__event_data__user_id=decomposed)
    guard = make_guard(customer)
    attempt = guard.begin("TXN-y", booking_id="BOOK-9", user_id=composed, customer_ip=None, token=None)
    guard.record_decline(attempt._subjects, None, None, "BOOK-9", "TXN-y")
    buried = event("evt_buried", user_id=decomposed, user_email="amelie@example.com", user_phone=None)
    refused = b'{"user": {"id": "Ame\xcc\x81lie"}, "ev'
    bury(customer, QUEUE, [json.dumps(buried).encode(), refused])
    person = Person((unicodedata.normalize(form, composed),))
    assert len(Privacy(customer).export(person, OPERATOR)["notifications"]) == 2
    report = erase(customer, person)
    # The third dead letter has the email address from the payment.
    assert (report.transactions, len(report.notifications), len(report.dead_letters)) == ([PAYMENT], 2, 3)
    assert report.redis_keys
    for user_id in (composed, decomposed):
        old = event("evt_replayed", user_id=user_id, user_email="new@example.com", user_phone=None)
        assert make_erasures(customer).covers(old)


def test_a_dry_run_changes_nothing_and_asks_for_no_confirmation(customer: Settings) -> None:
    before = everything(customer)
    report = erase(customer, Person(emails=(EMAIL,)), dry_run=True)
    assert (len(report.transactions), len(report.notifications), report.redis_keys) == (1, 2, 0)
    assert everything(customer) == before
    refused = movieapp(customer, "privacy", "erase", "--email", EMAIL)
    assert (refused.returncode, "pass --yes" in refused.stderr) == (2, True)
    assert everything(customer) == before
    assert movieapp(customer, "privacy", "erase", "--yes").returncode == 2


def test_payments_with_unpublished_events_are_not_erased(customer: Settings) -> None:
    waiting = {"event_id": "evt_w", "event_type": "payment.success", "body": "{}", "created_at": utcnow()}
    Transaction._get_collection().update_one({"_id": PAYMENT}, {"$set": {"outbox": [waiting]}})
    assert "unpublished events" in erase(customer, Person((USER,))).left[PAYMENT]
    assert MongoLedger().find(PAYMENT).contact


def test_a_person_active_within_the_last_minute_is_erased_later(customer: Settings) -> None:
    Transaction._get_collection().update_one({"_id": PAYMENT}, {"$set": {"created_at": utcnow()}})
    with pytest.raises(InvalidRequest, match="Try again in a minute"):
        erase(customer, Person((USER,)))


#: Bodies that an event queue refuses, about the customer.
REFUSED = {
    "wrong family": json.dumps(event(event_type="payment.success")).encode(),
    "escaped, with a number over 64 bits": json.dumps(event(amount=2**70)).replace("@", r"\u0040").encode(),
    "repeated field": b'{"user_email": "jane.doe@example.com", "user_email": null}',
    "truncated": b'{"user_phone": "+14155550100", "ev',
    "nested field": json.dumps({"event_type": "booking.confirmed", "user": {"id": USER}}).encode(),
}
#: Bodies that a search can't read.
UNREADABLE = b"\x1f\x8b\x08\x00compressed"


def test_refused_messages_about_a_person_are_exported_and_erased(customer: Settings) -> None:
    other = json.dumps(event("evt_other", **dict.fromkeys(("user_id", "user_phone")), user_email="j@b.c"))
    bury(customer, QUEUE, [*REFUSED.values(), other.encode(), UNREADABLE])
    person = Person((USER,), (EMAIL,), (PHONE,))
    exported = Privacy(customer).export(person, OPERATOR)
    bodies = [each["body"].encode() for each in exported["dead_letters"] if each["event"] is None]
    assert sorted(bodies) == sorted(body for name, body in REFUSED.items() if name != "nested field")
    assert len(exported["dead_letters"]) == len(REFUSED) + 1
    [(unread, reason)] = exported["left"].items()
    assert "the body is not text; check the dead letter, and drop it" in reason
    report = erase(customer, person)
    assert (len(report.dead_letters), report.left) == (len(REFUSED) + 1, {unread: reason})
    with closing(open_dead_letters(customer)) as letters:
        kept = [case.letter for case in find(letters, [customer.namespace + QUEUE], Selection())]
    assert [letter.body for letter in kept] == [b'{"event_id": "x"}', other.encode(), UNREADABLE]


def test_an_event_recorded_while_the_erasure_begins_is_erased(
    customer: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = Erasures.add

    def record_and_add(erasures: Erasures, person: Person, now: datetime) -> None:
        Notification(
            event_id="evt_late",
            event_type="booking.cancelled",
            notification_type="email",
            status="queued",
            booking_id="BOOK-9",
            recipient=EMAIL,
            event_data=event("evt_late"),
            created_at=utcnow(),
        ).insert()
        add(erasures, person, now)

    monkeypatch.setattr(Erasures, "add", record_and_add)
    report = erase(customer, Person((USER,)))
    late = Notification.objects.get(event_id="evt_late")
    assert str(late.id) in report.notifications
    assert (late.status, late.recipient) == ("skipped", None)
    assert EMAIL not in str(late.event_data)


def test_an_interrupted_erasure_finds_the_rest_when_repeated(
    customer: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    Notification(
        event_id="evt_partner",
        event_type="booking.cancelled",
        notification_type="email",
        status="sent",
        booking_id="BOOK-1",
        recipient="partner@example.com",
        event_data=event("evt_partner", user_email="partner@example.com", user_id="user_partner"),
        created_at=utcnow() - timedelta(days=3),
    ).insert()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    person = Person(emails=(EMAIL,))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(Privacy, "_erase_deliveries", interrupt)
        with pytest.raises(KeyboardInterrupt):
            erase(customer, person)
    erase(customer, person)
    # Only the person's payment connects this email with the person.
    assert NAME not in str(Notification.objects.get(event_id="evt_partner").event_data)


def test_what_can_not_be_erased_yet_is_found_when_the_erasure_is_repeated(customer: Settings) -> None:
    sms = Notification.objects.get(event_id="evt_1", notification_type="sms")
    sms.compare_and_set({"_id": sms.id}, {"$set": {"status": "sending"}})
    email = Notification.objects.get(event_id="evt_1", notification_type="email")
    person = Person(emails=(EMAIL,))
    report = erase(customer, person)
    assert (report.transactions, report.notifications) == ([], [])
    assert report.left == {
        str(sms.id): "being sent, or changed just now; run the command again",
        str(email.id): "another notification for its event is left; run the command again",
        PAYMENT: "a notification about its booking is left; run the command again",
    }
    sms.compare_and_set({"_id": sms.id}, {"$set": {"status": "sent"}})
    assert erase(customer, person).left == {}
    sms, email = (Notification.objects.get(id=each.id) for each in (sms, email))
    assert NAME not in f"{sms.event_data} {email.event_data}"
    assert MongoLedger().find(PAYMENT).contact == {}


@pytest.mark.parametrize("paid", [True, False])
def test_an_erasure_interrupted_between_two_deliveries_finds_the_rest_when_repeated(
    customer: Settings, monkeypatch: pytest.MonkeyPatch, *, paid: bool
) -> None:
    if not paid:
        Transaction.objects(id=PAYMENT).delete()
    erase_one, erased = notifications.erase, list[str]()

    def erase_only_one(delivery: Notification) -> bool:
        if erased:
            raise KeyboardInterrupt
        erased.append(str(delivery.id))
        return erase_one(delivery)

    person = Person(emails=(EMAIL,))
    with monkeypatch.context() as interrupted:
        interrupted.setattr(notifications, "erase", erase_only_one)
        with pytest.raises(KeyboardInterrupt):
            erase(customer, person)
    erase(customer, person)
    assert NAME not in str([each.event_data for each in Notification.objects(event_id="evt_1")])


def test_an_erasure_that_is_refused_redacts_no_events(customer: Settings) -> None:
    Transaction._get_collection().update_one({"_id": PAYMENT}, {"$set": {"created_at": utcnow()}})
    with pytest.raises(InvalidRequest):
        erase(customer, Person((USER,)))
    assert not make_erasures(customer).covers(event())


def test_an_export_is_complete_and_readable_only_by_its_owner(customer: Settings, tmp_path: Path) -> None:
    output = tmp_path / "jane.json"
    done = movieapp(
        customer, "privacy", "export", "--email", EMAIL, "--phone", PHONE, "--output", str(output)
    )
    assert done.returncode == 0, done.stderr
    assert output.stat().st_mode & 0o777 == 0o600
    exported = json.loads(output.read_text())
    # Both customers gave the same phone number.
    assert [each["_id"] for each in exported["transactions"]] == [PAYMENT, "TXN-other"]
    assert exported["transactions"][0]["contact"]["user_name"] == NAME
    assert len(exported["notifications"]) == 3
    assert [each["event"]["event_id"] for each in exported["dead_letters"]] == ["evt_dead"]
    assert OperatorAction.objects(action="privacy.export").count() == 1


def test_only_events_from_before_the_erasure_are_redacted(customer: Settings) -> None:
    erasures = make_erasures(customer)
    now = utcnow()
    assert not erasures.covers(event())
    erasures.add(Person(emails=(EMAIL,)), now)
    assert erasures.covers(event())
    assert erasures.covers(event(timestamp="yesterday")), "what says no time may be from before"
    assert not erasures.covers(event(timestamp=iso(now + timedelta(seconds=1))))
    assert not erasures.covers(event(user_email="john@example.com"))
