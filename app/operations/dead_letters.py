"""What an operator does with dead letters: why they died, which to pick, how they go back.

A letter that asks for a delivery holds the delivery's id; the event, the last error and all
tries are in the delivery's record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
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

#: Letters whose records are looked up with one query.
_BATCH = 100

#: Letters that may wait in memory while others are replayed or dropped.
_AHEAD = 1_000

REPLAYED = "replayed"
#: Why a letter stays where it is.
UNRECORDED = "its delivery's record is gone; replaying would do nothing"
UNCERTAIN = "the mail may have arrived; --include-uncertain sends it again"
CHANGED = "its delivery has just changed"


@dataclass(frozen=True)
class Case:
    """A dead letter, and what is known about it.

    Attributes:
        letter: as it lies on the broker.
        notification: the record of the delivery that it asks for; None if it asks for none, or it is gone.
    """

    letter: DeadLetter
    notification: Notification | None

    @property
    def event(self) -> dict[str, Any] | None:
        """The event behind it, where it is known."""
        return self.notification.event_data if self.notification else self.letter.event

    @property
    def event_type(self) -> Any:
        """Its type; a string, unless the event is wrong about it."""
        return (self.event or {}).get("event_type")

    @cached_property
    def error(self) -> str | None:
        """Why it is dead; None if nothing is wrong with it (any more).

        Raises:
            ServiceUnavailable: MongoDB does not answer.
        """
        letter, delivery = self.letter, self.notification
        if letter.refusal:
            return letter.refusal
        if delivery:
            return delivery.error_message or letter.reason or letter.first_error
        if letter.notification_id:
            return UNRECORDED
        return letter.reason or _refusal(letter.event or {}) or letter.first_error


@dataclass(frozen=True)
class Selection:
    """Which letters to pick; what is empty does not matter.

    Attributes:
        ids: theirs.
        event_type: of the event behind them.
        error: a part of what went wrong, in any case.
        before, after: when they died; a letter of unknown age is picked by neither.
        visible: what the caller may see of an error; `error` is searched for in that alone.
    """

    ids: frozenset[str] = frozenset()
    event_type: str | None = None
    error: str | None = None
    before: datetime | None = None
    after: datetime | None = None
    visible: Callable[[str], str] = str

    def __bool__(self) -> bool:
        """Whether it leaves any letter out."""
        return self != Selection()

    def takes_letter(self, letter: DeadLetter) -> bool:
        """Whether it picks a letter, as far as the broker alone can tell."""
        died_at = letter.died_at
        return (
            (not self.ids or letter.id in self.ids)
            and (self.before is None or (died_at is not None and died_at < self.before))
            and (self.after is None or (died_at is not None and died_at >= self.after))
        )

    def takes(self, case: Case) -> bool:
        """Whether it picks what `takes_letter` let through."""
        return (self.event_type is None or case.event_type == self.event_type) and (
            self.error is None or self.error.lower() in self.visible(case.error or "").lower()
        )


def count(letters: DeadLetters, queues: Iterable[str]) -> tuple[int, list[str]]:
    """Count dead letters.

    Args:
        letters: the broker's.
        queues: full names.

    Returns:
        How many there are, and the queues whose dead letters can't be read now.

    Raises:
        ServiceUnavailable: the broker does not answer.
    """
    total, unavailable = 0, []
    for queue in queues:
        try:
            total += letters.count(queue)
        except QueueUnavailable:
            unavailable.append(queue)
    return total, unavailable


def find(letters: DeadLetters, queues: Iterable[str], selection: Selection) -> Generator[Case, None, None]:
    """The letters that match, queue by queue, oldest first. Nothing is changed.

    Raises:
        ServiceUnavailable: the broker or MongoDB does not answer.
    """
    # Who picks none out mostly wants the first few; who does needs them all, and soonest.
    ahead = 0 if selection else _BATCH
    for queue in queues:
        with closing(letters.read(queue, ahead=ahead)) as found:
            picked = filter(selection.takes_letter, found)
            while batch := list(islice(picked, _BATCH)):
                yield from filter(selection.takes, _cases(batch))


def replay(
    letters: DeadLetters,
    queues: Iterable[str],
    selection: Selection,
    pause: Callable[[], object],
    *,
    include_uncertain: bool = False,
    dry_run: bool = False,
) -> Generator[str, None, None]:
    """Put the letters that match back onto their queues, each once.

    Args:
        letters: the broker's.
        queues: full names.
        selection: which.
        pause: called before each; keeps the pace.
        include_uncertain: also where a mail may have arrived, knowing that it may arrive twice.
        dry_run: only say what would happen.

    Yields:
        For each letter `REPLAYED`, or why it stays dead.

    Raises:
        ServiceUnavailable: the broker or MongoDB does not answer; what was not replayed is still dead.
    """
    with closing(_one_by_one(letters, queues, selection)) as found:
        for case in found:
            reason = _obstacle(case, include_uncertain)
            if not reason and not dry_run:
                pause()
                reason = _put_back(letters, case)
            yield reason or REPLAYED


def drop(
    letters: DeadLetters, queues: Iterable[str], selection: Selection, limit: int
) -> Generator[Case, None, None]:
    """Remove the oldest `limit` letters that match for good; the records of deliveries stay.

    Raises:
        ServiceUnavailable: the broker or MongoDB does not answer.
    """
    with closing(_one_by_one(letters, queues, selection)) as found:
        for case in islice(found, limit):
            letters.drop(case.letter)
            yield case


class Pace:
    """Lets at most `rate` calls a second through.

    Args:
        rate: a second.
    """

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._next = time.monotonic()

    def __call__(self) -> None:
        """Wait until it is time."""
        now = time.monotonic()
        if now < self._next:
            time.sleep(self._next - now)
        self._next = max(self._next, now) + self._interval


def _one_by_one(
    letters: DeadLetters, queues: Iterable[str], selection: Selection
) -> Generator[Case, None, None]:
    """As `find`, for who replays or drops: each letter is dealt with before the next is read."""
    for queue in queues:
        with closing(letters.read(queue, ahead=_AHEAD)) as found:
            for letter in filter(selection.takes_letter, found):
                yield from filter(selection.takes, _cases([letter]))


def _cases(letters: list[DeadLetter]) -> list[Case]:
    asked = {letter.notification_id for letter in letters if letter.notification_id}
    with storage_errors():
        recorded = notifications.by_ids(asked)
    return [Case(letter, recorded.get(letter.notification_id or "")) for letter in letters]


def _refusal(event: dict[str, Any]) -> str | None:
    """Why an event is refused: its letter does not say, but whoever asks again gets the same answer."""
    try:
        event, _ = check_event(event)
    except InvalidEvent as error:
        return str(error)
    with storage_errors():
        first = Notification.objects(event_id=event["event_id"]).only("event_data").first()
    if first and canonical(first.event_data) != canonical(event):
        return "its event_id is known with another content"
    return None


def _obstacle(case: Case, include_uncertain: bool) -> str | None:
    """Why a letter must stay where it is."""
    if case.letter.misrouted:
        return f"a replay would bypass a refusal: {case.letter.refusal}"
    if case.letter.notification_id and not case.notification:
        return UNRECORDED
    if case.notification and case.notification.status == DeliveryStatus.UNCERTAIN and not include_uncertain:
        return UNCERTAIN
    return None


def _put_back(letters: DeadLetters, case: Case) -> str | None:
    """Put a letter back; returns why not.

    First the record, then the message: a worker that finds the record as it was would do nothing.
    """
    notification = case.notification
    if notification and notification.status in GIVEN_UP:
        with storage_errors():
            if not notifications.requeue(notification, "replayed from the dead letters"):
                return CHANGED
    letters.replay(case.letter)
    return None
