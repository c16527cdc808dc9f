"""Card testing: people who hold lists of stolen cards try with small purchases which of them still work.

Declined attempts are counted by booking, user, shopper's address, and card. Whoever uses up a budget is
locked out, each time for longer. After a few declines the reason of a decline is no longer given.
docs/security.md explains the numbers.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import redis

from app import declines
from app.abuse.memory_store import MemoryStore
from app.abuse.redis_store import RedisStore
from app.abuse.store import Lock, Standing, Store, Subject
from app.errors import Problem, TooManyAttempts
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings
    from app.settings.budgets import Budgets

log = get_logger(__name__)

T = TypeVar("T")

#: Error codes of declines that say something about a card.
_CARD_CODES = frozenset({"CARD_DECLINED", "INSUFFICIENT_FUNDS", "CARD_EXPIRED", "INVALID_CARD"})

#: From this share of a budget on, all declines look the same.
_VAGUE_SHARE = 0.4

#: Carriers, offices, and cinemas share an address among many customers: only every third of their attempts in
#: flight counts.
_IN_FLIGHT_WEIGHT = {"ip": 1 / 3}

#: A payment that succeeds gives one decline back to these.
_FORGIVEN = ("ip", "user")

#: Seconds for which Redis is not asked after it failed.
_REDIS_PAUSE_SECONDS = 5.0


@dataclass
class Attempt:
    """An attempt to pay that is in flight. Leaving its context ends it.

    A card that is refused before it is charged (`INVALID_CARD` or `CARD_EXPIRED`, raised inside the context)
    counts as declined.
    """

    _guard: AttemptGuard
    _id: str
    _slot: str
    _subjects: Sequence[Subject]
    _token: str | None
    _open: bool = True

    def declined(self, decline: declines.Decline, card_fingerprint: str | None = None) -> declines.Decline:
        """Count a decline.

        Args:
            decline: the bank's.
            card_fingerprint: the gateway's name for the card's number, if it gave one.

        Returns:
            What the customer may know: after a few declines only that the card was declined.
        """
        if not self._open or decline.code not in _CARD_CODES:
            return decline
        self._open = False
        standing = self._guard.record_decline(
            self._subjects, card_fingerprint, self._token, self._slot, self._id
        )
        if standing.used < _VAGUE_SHARE:
            return decline
        log.info("reason of a decline withheld", transaction_id=self._id, error_code=decline.code)
        return declines.GENERIC

    def paid(self) -> None:
        """Note that the payment succeeded."""
        self._end(_FORGIVEN)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open and isinstance(error, Problem) and error.code in _CARD_CODES:
            self._open = False
            self._guard.record_decline(self._subjects, None, self._token, self._slot, self._id)
        self._end()

    def _end(self, forgiven: Sequence[str] = ()) -> None:
        if self._open:
            self._open = False
            self._guard.end(self._subjects, self._slot, forgiven)


class AttemptGuard:
    """Counts declined attempts and refuses further ones.

    While Redis does not answer, each process counts on its own. Payments go on, and budgets are as many times
    as large as there are processes.

    Args:
        store: shared by all processes.
        budgets: of each kind of subject. A kind without any is not counted.
        clock: returns seconds since 1970.
    """

    def __init__(self, store: Store, budgets: Budgets, clock: Callable[[], float] = time.time) -> None:
        self._shared = store
        self._own = MemoryStore()
        self._budgets = budgets
        self._clock = clock
        self._shared_again = 0.0

    def begin(
        self, attempt: str, *, booking_id: str, user_id: str, customer_ip: str | None, token: str | None
    ) -> Attempt:
        """Begin an attempt to pay with a card.

        Args:
            attempt: its id, for example the transaction's.
            booking_id, user_id: whose it is.
            customer_ip: the client, in the form of `client_of`, if the caller knows it.
            token: the gateway's id of the card for this payment. Its digest is kept.

        Raises:
            TooManyAttempts: a budget is used up. Says when to come back, and not which budget.
        """
        names = {"booking": booking_id, "user": user_id, "ip": customer_ip}
        subjects = [
            self._subject(kind, name) for kind, name in names.items() if name and kind in self._budgets
        ]
        known = token and "card" in self._budgets
        digest = hashlib.sha256(str(token).encode()).hexdigest()[:32] if known else None
        if not self._budgets:
            return Attempt(self, attempt, booking_id, (), None, _open=False)
        now = self._clock()
        wait = self._ask(lambda store: store.begin(subjects, digest, booking_id, now))
        if wait:
            metrics.ATTEMPTS_REFUSED.inc()
            log.warning("too many card attempts", booking_id=booking_id, user_id=user_id)
            raise TooManyAttempts(ceil(wait))
        return Attempt(self, attempt, booking_id, subjects, digest)

    def record_decline(
        self,
        subjects: Sequence[Subject],
        card_fingerprint: str | None,
        token: str | None,
        slot: str,
        attempt: str,
    ) -> Standing:
        """See `Attempt.declined`."""
        if card_fingerprint and "card" in self._budgets:
            subjects = [*subjects, self._subject("card", card_fingerprint)]
        now = self._clock()
        standing = self._ask(lambda store: store.declined(subjects, token, slot, attempt, now))
        names = {subject.kind: subject.name for subject in subjects}
        for kind in standing.locked:
            metrics.LOCKOUTS.labels(kind).inc()
            # An address is personal data: `movieapp attempts list` shows it, for as long as it is locked.
            shown = None if kind == "ip" else names[kind]
            log.warning("locked out after declined attempts", kind=kind, subject=shown)
        return standing

    def end(self, subjects: Sequence[Subject], slot: str, forgiven: Sequence[str]) -> None:
        """See `Store.ended`."""
        self._ask(lambda store: store.ended(subjects, slot, forgiven=forgiven))

    def locks(self) -> list[Lock]:
        """Return who is locked out, the longest first.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return self._shared.locks(self._clock())

    def lift(self, kind: str, name: str) -> bool:
        """Forget the declines and lockouts of a subject; whether there were any.

        Raises:
            redis.RedisError: Redis does not answer.
        """
        return self._shared.lift(kind, name)

    def _subject(self, kind: str, name: str) -> Subject:
        return Subject(kind, name, self._budgets[kind], _IN_FLIGHT_WEIGHT.get(kind, 1.0))

    def _ask(self, question: Callable[[Store], T]) -> T:
        if time.monotonic() >= self._shared_again:
            try:
                return question(self._shared)
            except redis.RedisError as error:
                self._shared_again = time.monotonic() + _REDIS_PAUSE_SECONDS
                log.warning("card attempts counted in this process only", reason=type(error).__name__)
        return question(self._own)


def make_guard(settings: Settings) -> AttemptGuard:
    """Return the guard on the Redis that the settings name. It connects with the first attempt."""
    store = RedisStore(settings.redis_url, f"{settings.namespace}attempts:")
    return AttemptGuard(store, settings.card_attempt_budgets)
