"""Find, replay, and drop dead letters.

The dead letter of a delivery contains only the delivery's id. The delivery's record has the event, the last
error, and all attempts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import islice
from typing import Any

from app.canonical_json import canonical
from app.delivery_status import GIVEN_UP, DeliveryStatus
from app.events.catalog import check_event
from app.events.decode import InvalidEvent
from app.messaging.dead_letters import DeadLetter, DeadLetters, QueueUnavailable
from app.models import Notification, storage_errors
from app.operations import notifications
from app.operations.advice import advice_on
from app.operations.audit import Operator, record_action

#: Dead letters whose records are looked up with one query.
_BATCH_SIZE = 100

#: Maximum number of dead letters in memory while others are replayed or dropped.
_PREFETCH_COUNT = 1_000

REPLAYED = "replayed"
#: Why a dead letter is not replayed.
UNRECORDED = "the record of the delivery was deleted, so a replay would do nothing"
UNCERTAIN = "the message may have arrived; pass --include-uncertain to send it again"
CHANGED = "the delivery changed during the replay; try again"


@dataclass(frozen=True)
class Case:
    """A dead letter with the record of its delivery.

    Attributes:
        letter: the dead letter on the broker.
        document: the record of its delivery, as MongoDB stores it; None if it has none, or the record was
            deleted.
    """

    letter: DeadLetter
    document: Mapping[str, Any] | None

    @cached_property
    def notification(self) -> Notification | None:
        """Return the record of its delivery; None if there is none.

        Most dead letters that are read are only counted by reason, which needs no more than the document.
        """
        return Notification.from_document(dict(self.document)) if self.document else None

    @property
    def event(self) -> dict[str, Any] | None:
        """Return its event, if known."""
        return self.document.get("event_data") if self.document else self.letter.event

    @property
    def event_type(self) -> Any:
        """Return the event type, a string unless the event is invalid."""
        return (self.event or {}).get("event_type")

    @cached_property
    def error(self) -> str | None:
        """Return its error; None if nothing is wrong (any more).

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        letter = self.letter
        if letter.refusal:
            return letter.refusal
        if self.document:
            return self.document.get("error_message") or letter.reason or letter.first_error
        if letter.notification_id:
            return UNRECORDED
        return letter.reason or _refusal(letter.event or {}) or letter.first_error

    @property
    def advice(self) -> str:
        """Return what to do about it."""
        return advice_on(self.error, self.document.get("status") if self.document else None)


@dataclass(frozen=True)
class Selection:
    """A filter of dead letters. Empty fields match everything.

    Attributes:
        ids: ids of dead letters.
        event_type: type of their event.
        error: part of the error, in any case.
        before, after: when they became dead letters. An unknown age matches neither.
        visible: returns the part of an error that the caller may see; `error` must be in that part.
    """

    ids: frozenset[str] = frozenset()
    event_type: str | None = None
    error: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    visible: Callable[[str], str] = str

    def __bool__(self) -> bool:
        """Return whether the filter excludes any dead letter."""
        return self != Selection()

    def takes_letter(self, letter: DeadLetter) -> bool:
        """Return whether a dead letter matches, by the broker's data alone."""
        died_at = letter.died_at
        return (
            (not self.ids or letter.id in self.ids)
            and (self.before is None or (died_at is not None and died_at < self.before))
            and (self.after is None or (died_at is not None and died_at >= self.after))
        )

    def takes(self, case: Case) -> bool:
        """Return whether a dead letter that passed `takes_letter` matches."""
        return (self.event_type is None or case.event_type == self.event_type) and (
            self.error is None or self.error.lower() in self.visible(case.error or "").lower()
        )


def count(dead_letters: DeadLetters, queues: Iterable[str]) -> tuple[int, list[str]]:
    """Count dead letters.

    Args:
        dead_letters: dead letters of the broker.
        queues: full names of the queues.

    Returns:
        The number of dead letters, and the queues that can't be read now.

    Raises:
        ServiceUnavailable: the broker is unavailable.
    """
    total, unavailable = 0, []
    for queue in queues:
        try:
            total += dead_letters.count(queue)
        except QueueUnavailable:
            unavailable.append(queue)
    return total, unavailable


def find(
    dead_letters: DeadLetters, queues: Iterable[str], selection: Selection
) -> Generator[Case, None, None]:
    """Return the dead letters that match, by queue, oldest first. Changes nothing.

    Raises:
        ServiceUnavailable: the broker or MongoDB is unavailable.
    """
    # Without a filter, usually only the first few are needed; with one, all are read, in large batches.
    ahead = 0 if selection else _BATCH_SIZE
    for queue in queues:
        with closing(dead_letters.read(queue, ahead=ahead)) as found:
            picked = filter(selection.takes_letter, found)
            while batch := list(islice(picked, _BATCH_SIZE)):
                yield from filter(selection.takes, _cases(batch))


def replay(
    dead_letters: DeadLetters,
    queues: Iterable[str],
    selection: Selection,
    pause: Callable[[], object],
    operator: Operator,
    *,
    include_uncertain: bool = False,
    dry_run: bool = False,
) -> Generator[str, None, None]:
    """Replay the dead letters that match, each once.

    Args:
        dead_letters: dead letters of the broker.
        queues: full names of the queues.
        selection: which dead letters.
        pause: called before each replay, to limit the rate.
        operator: who replays them, for the audit log.
        include_uncertain: include mails that may have arrived, and may then arrive twice.
        dry_run: report what would happen, and change nothing.

    Yields:
        For each dead letter `REPLAYED`, or why it was not replayed.

    Raises:
        ServiceUnavailable: the broker or MongoDB is unavailable; the rest was not replayed.
    """
    with closing(_one_by_one(dead_letters, queues, selection)) as found:
        for case in found:
            reason = _obstacle(case, include_uncertain)
            if not reason and not dry_run:
                pause()
                _record(operator, "dead_letters.replay", case)
                reason = _put_back(dead_letters, case)
            yield reason or REPLAYED


def drop(
    dead_letters: DeadLetters, queues: Iterable[str], selection: Selection, limit: int, operator: Operator
) -> Generator[Case, None, None]:
    """Permanently delete the oldest `limit` dead letters that match. Records of deliveries stay.

    Args:
        dead_letters: dead letters of the broker.
        queues: full names of the queues.
        selection: which dead letters.
        limit: at most this many.
        operator: who drops them, for the audit log.

    Yields:
        Each deleted dead letter.

    Raises:
        ServiceUnavailable: the broker or MongoDB is unavailable.
    """
    with closing(_one_by_one(dead_letters, queues, selection)) as found:
        for case in islice(found, limit):
            _record(operator, "dead_letters.drop", case)
            dead_letters.drop(case.letter)
            yield case


class Pace:
    """Rate limiter for `rate` calls a second.

    Args:
        rate: calls a second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()

    def __call__(self) -> None:
        """Wait for the next free slot."""
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(self._next, now) + self._interval


def _one_by_one(
    dead_letters: DeadLetters, queues: Iterable[str], selection: Selection
) -> Generator[Case, None, None]:
    """Like `find`, but read each dead letter only after the caller has handled the one before."""
    for queue in queues:
        with closing(dead_letters.read(queue, ahead=_PREFETCH_COUNT)) as found:
            for letter in filter(selection.takes_letter, found):
                yield from filter(selection.takes, _cases([letter]))


def _cases(dead_letters: list[DeadLetter]) -> list[Case]:
    ids = {letter.notification_id for letter in dead_letters if letter.notification_id}
    with storage_errors():
        recorded = notifications.documents_by_ids(ids)
    return [Case(letter, recorded.get(letter.notification_id or "")) for letter in dead_letters]


def _refusal(event: dict[str, Any]) -> str | None:
    """Return why an event is refused. The dead letter does not say, but validation gives the same result
    again."""
    try:
        event, _ = check_event(event)
    except InvalidEvent as error:
        return str(error)
    with storage_errors():
        first = Notification.objects(event_id=event["event_id"]).only("event_data").first()
    if first and canonical(first.event_data) != canonical(event):
        return "an earlier event with this event_id has different content"
    return None


def _record(operator: Operator, action: str, case: Case) -> None:
    event = case.event or {}
    ids = {"letter": case.letter.id, "notification": case.letter.notification_id, "queue": case.letter.queue}
    record_action(operator, action, str(event.get("event_id") or case.letter.id), ids)


def _obstacle(case: Case, include_uncertain: bool) -> str | None:
    """Return why a dead letter can't be replayed."""
    if case.letter.is_misrouted:
        return f"a replay would bypass the check that refused the message: {case.letter.refusal}"
    if case.letter.notification_id and not case.notification:
        return UNRECORDED
    if case.notification and case.notification.status == DeliveryStatus.UNCERTAIN and not include_uncertain:
        return UNCERTAIN
    return None


def _put_back(dead_letters: DeadLetters, case: Case) -> str | None:
    """Replay a dead letter. Return the reason if it was not replayed.

    The record changes first: a worker that finds it unchanged would do nothing.
    """
    notification = case.notification
    if notification and notification.status in GIVEN_UP:
        with storage_errors():
            if not notifications.requeue(notification, "replayed from the dead letters"):
                return CHANGED
    dead_letters.replay(case.letter)
    return None
