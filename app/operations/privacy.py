"""Find, export, and erase the data about a person.

Accounting data is kept: amounts, ids, and states. `HELD` lists what happens to each collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import redis

from app.abuse.attempts import make_guard
from app.channels import ChannelName
from app.clock import utcnow
from app.errors import InvalidRequest
from app.ids import forms_of, normalized_id
from app.messaging.dead_letters import DeadLetter, DeadLetters, open_dead_letters
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification, Transaction, storage_errors
from app.operations import dead_letters, notifications
from app.operations.audit import Operator, record_action
from app.operations.dead_letters import Case, Selection
from app.operations.finding import Condition, of_email, of_phone
from app.payments import changes
from app.payments.books import Books
from app.payments.ledger.mongo import MongoLedger
from app.payments.states import Actor
from app.privacy.erasures import FRESH, Person, make_erasures
from app.privacy.mentions import Mentions, Unsearchable
from app.suppressions import make_suppressions

if TYPE_CHECKING:
    from app.settings import Settings

#: Collection → how its personal data is erased.
HELD = {
    "transaction_logs": "contact, metadata, and refund reasons are erased; ids, amounts, and states stay",
    "notification_logs": "recipient, subject, event, and server replies are erased; ids and states stay",
    "suppressions": "stays: a keyed hash, so that nothing is sent to a suppressed address",
    "soft_bounces": "stays for a week: keyed hashes",
    "handled_bounces": "stays for 60 days: hashes and ids",
    "refund_runs": "stays: sums; reasons are an operator's words",
    "refund_run_lines": "stays: ids and amounts",
    "idempotency_keys": "stays for a day: ids and amounts",
    "operator_actions": "stays: ids and keyed hashes",
    "erasures": "added to: keyed hashes, so that old events stay erased",
    "api_keys": "no data of customers",
    "dashboard_sessions": "no data of customers",
    "webhook_deliveries": "no data of customers",
}

#: Places that this program can't erase.
ELSEWHERE = (
    "log store: search it for the ids in this report; replies of mail servers may quote addresses",
    "gateway: it keeps its own records of cardholders",
    "backups: erase again after restoring one",
)

#: Ids in one query.
_BATCH_SIZE = 500


@dataclass
class Erased:
    """The result of an erasure or its dry run.

    Attributes:
        transactions, notifications, dead_letters: ids of the erased or dropped records.
        redis_keys: number of deleted counters of declined payments.
        left: records that could not be erased now, and why.
    """

    transactions: list[str] = field(default_factory=list)
    notifications: list[str] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    redis_keys: int = 0
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    """The records about a person.

    Attributes:
        payments: the person's payments.
        named: deliveries found by the person's identifiers. Each is found without other records.
        related: deliveries that only their booking's payment or their event's other deliveries lead to.
    """

    payments: list[Transaction]
    named: list[Notification]
    related: list[Notification]

    @property
    def deliveries(self) -> list[Notification]:
        """All deliveries, those that depend on others first."""
        return [*self.related, *self.named]


class Privacy:
    """Finds, exports, and erases the data about a person.

    Args:
        settings: have the servers' URLs.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._books = Books(MongoLedger())
        self._erasures = make_erasures(settings)

    def export(self, person: Person, operator: Operator) -> dict[str, Any]:
        """Return everything that MongoDB and the broker store about a person, and what can't be searched.

        Raises:
            ServiceUnavailable: MongoDB or the broker is unavailable.
        """
        self._record(operator, "privacy.export", person)
        found = self._found(person)
        suppressions = make_suppressions(self._settings)
        named = [(ChannelName.EMAIL, each) for each in person.emails]
        named += [(ChannelName.SMS, each) for each in person.phones]
        listed = [entry for channel, each in named if (entry := suppressions.find(channel, each))]
        left: dict[str, str] = {}
        with closing(open_dead_letters(self._settings)) as letters:
            buried = [case.letter for case in self._cases(letters, person, found.deliveries, left)]
        return {
            "transactions": [_document(each) for each in found.payments],
            "notifications": [_document(each) for each in found.deliveries],
            "dead_letters": [_exported(letter) for letter in buried],
            "suppressions": [_document(each) for each in listed],
            "collections": HELD,
            "left": left,
            "not_included": list(ELSEWHERE),
        }

    def erase(self, person: Person, operator: Operator, *, dry_run: bool) -> Erased:
        """Erase a person's data. Safe to repeat, and to run again after it was interrupted.

        Args:
            person: who.
            operator: who erases, for the audit log.
            dry_run: report what would be erased, and change nothing.

        Raises:
            InvalidRequest: the person was active within the last minute.
            ServiceUnavailable: MongoDB or the broker is unavailable; run it again.
        """
        found = self._found(person)
        newest = max((each.created_at for each in (*found.payments, *found.deliveries)), default=None)
        if newest and newest > utcnow() - FRESH:
            raise InvalidRequest("This person was active within the last minute. Try again in a minute.")
        extended = _with_addresses(person, found.payments)
        if not dry_run:
            self._record(operator, "privacy.erase", extended)
            self._erasures.add(extended, utcnow())
            # Again, because workers redact old events only from here on.
            found = self._found(person)
        done = Erased()
        # A repeated erasure finds the data that is left by other records, so each record is erased after
        # those that it leads to: dead letters, related deliveries, named deliveries, payments.
        self._drop_dead_letters(extended, found.deliveries, operator, done, dry_run)
        if not dry_run:
            self._forget_attempts(person, found.payments, done)
        bookings = self._erase_deliveries(found.deliveries, done, dry_run)
        for payment in found.payments:
            self._erase_payment(payment.id, bookings, done, dry_run)
        return done

    def _record(self, operator: Operator, action: str, person: Person) -> None:
        first, *others = self._erasures.ids(person)
        record_action(operator, action, first, {"others": others} if others else None)

    def _found(self, person: Person) -> _Found:
        """Return the person's payments, and all notifications to the person or about the bookings."""
        payments: dict[Any, Transaction] = {}
        deliveries: dict[Any, Notification] = {}

        def add(conditions: Iterable[tuple[Any, Condition]]) -> None:
            for record, condition in conditions:
                known: dict[Any, Any] = payments if record is Transaction else deliveries
                known |= {each.pk: each for each in condition.find(record, 0)}

        with storage_errors():
            for user_id in person.user_ids:
                forms = {"$in": forms_of(user_id)}
                add([(Transaction, Condition({"user_id": forms}))])
                add([(Notification, Condition({"event_data.user_id": forms}))])
            for email in person.emails:
                add(of_email(email))
            for phone in person.phones:
                add(of_phone(phone))
            named = list(deliveries.values())
            for name, values in (
                ("booking_id", {form for each in payments.values() for form in forms_of(each.booking_id)}),
                ("event_id", {each.event_id for each in deliveries.values()}),
            ):
                for batch in _batches(sorted(values)):
                    add([(Notification, Condition({name: {"$in": batch}}))])
        ids = {each.pk for each in named}
        related = [each for each in deliveries.values() if each.pk not in ids]
        return _Found(list(payments.values()), named, related)

    def _erase_payment(self, transaction_id: str, bookings: set[str], done: Erased, dry_run: bool) -> None:
        """Erase a payment, unless its booking is one of `bookings`, whose deliveries are left."""
        payment = self._books.get(transaction_id)
        if payment.outbox:
            done.left[transaction_id] = (
                "the payment has unpublished events; run the command again after they are published"
            )
            return
        if payment.booking_id in bookings:
            done.left[transaction_id] = "a notification about its booking is left; run the command again"
            return
        if not dry_run:
            now = utcnow()
            self._books.change(
                payment, lambda stored: changes.personal_data_erased(stored, actor=Actor.OPERATOR, now=now)
            )
        done.transactions.append(transaction_id)

    def _erase_deliveries(self, deliveries: list[Notification], done: Erased, dry_run: bool) -> set[str]:
        """Erase deliveries in this order. Return the bookings of events with a delivery that is left."""
        events: set[str] = set()
        with storage_errors():
            for delivery in deliveries:
                name = str(delivery.id)
                if delivery.event_id in events:
                    done.left[name] = "another notification for its event is left; run the command again"
                elif dry_run or notifications.erase(delivery):
                    done.notifications.append(name)
                else:
                    done.left[name] = "being sent, or changed just now; run the command again"
                    events.add(delivery.event_id)
        return {
            normalized_id(each.booking_id)
            for each in deliveries
            if each.event_id in events and each.booking_id
        }

    def _drop_dead_letters(
        self,
        person: Person,
        deliveries: Iterable[Notification],
        operator: Operator,
        done: Erased,
        dry_run: bool,
    ) -> None:
        with closing(open_dead_letters(self._settings)) as letters:
            found = [case.letter.id for case in self._cases(letters, person, deliveries, done.left)]
            if found and not dry_run:
                picked = Selection(ids=frozenset(found))
                dropped = dead_letters.drop(letters, self._queues(), picked, len(found), operator)
                found = [case.letter.id for case in dropped]
        done.dead_letters = found

    def _cases(
        self, letters: DeadLetters, person: Person, deliveries: Iterable[Notification], left: dict[str, str]
    ) -> Iterator[Case]:
        """Yield the dead letters about the person. Add those that can't be searched to `left`."""
        known, mentions = {str(delivery.id) for delivery in deliveries}, Mentions(person)
        _, unavailable = dead_letters.count(letters, self._queues())
        if unavailable:
            raise InvalidRequest(
                f"The dead letters of the queues {', '.join(unavailable)} are unavailable. "
                "Run the command again later."
            )
        with closing(dead_letters.find(letters, self._queues(), Selection())) as found:
            for case in found:
                letter = case.letter
                try:
                    if (
                        letter.notification_id in known
                        or person.is_in(letter.event or {})
                        or mentions.are_in((letter.reason or "").encode())
                        or mentions.are_in(letter.body)
                    ):
                        yield case
                except Unsearchable as error:
                    left[letter.id] = (
                        f"{error}; check the dead letter, and drop it if it is about this person: "
                        f"movieapp dead-letters show {letter.id}"
                    )

    def _queues(self) -> list[str]:
        topology = Topology.of(self._settings)
        return [topology.queue(queue) for queue in QUEUES]

    def _forget_attempts(self, person: Person, payments: Iterable[Transaction], done: Erased) -> None:
        guard = make_guard(self._settings)
        subjects = {("user", user_id) for user_id in person.stored_user_ids}
        subjects |= {("booking", payment.booking_id) for payment in payments}
        try:
            done.redis_keys = sum(guard.lift(kind, name) for kind, name in sorted(subjects))
        except redis.RedisError as error:
            done.left["redis"] = (
                f"Redis is unavailable ({type(error).__name__}); its counters of declined payments expire "
                "within 8 days"
            )


def _with_addresses(person: Person, payments: Iterable[Transaction]) -> Person:
    """Add the addresses from a user's payments, so that old events to them stay erased too."""
    of_user = [payment.contact for payment in payments if payment.user_id in person.stored_user_ids]
    emails = {*person.emails, *(each["user_email"] for each in of_user if each.get("user_email"))}
    phones = {*person.phones, *(each["user_phone"] for each in of_user if each.get("user_phone"))}
    return Person(person.user_ids, sorted(emails), sorted(phones))


def _exported(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter for an export: its event, or its body if it has no readable event."""
    if letter.event is not None:
        return {"id": letter.id, "event": letter.event}
    return {"id": letter.id, "event": None, "body": letter.body.decode("utf-8", "backslashreplace")}


def _document(record: Any) -> dict[str, Any]:
    return dict(record.to_mongo().to_dict())


def _batches(values: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(values), _BATCH_SIZE):
        yield values[start : start + _BATCH_SIZE]
