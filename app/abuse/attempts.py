"""Limit card testing: fraudsters make small payments to learn which stolen cards still work.

Declined attempts are counted by booking, user, shopper's address, and card. A subject that uses up a budget
is locked out, each time for longer. After a few declines, responses omit the reason.
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

#: Error codes of declines that are caused by the card.
_CARD_CODES = frozenset({"CARD_DECLINED", "INSUFFICIENT_FUNDS", "CARD_EXPIRED", "INVALID_CARD"})

#: Declines with such a code that are not caused by the card.
_NOT_OF_A_CARD = frozenset({declines.NOT_CONFIRMED, declines.PROVIDER})

#: Above this share of a budget, every decline gets the same error code.
_VAGUE_SHARE = 0.4

#: Carriers, offices, and cinemas share an address among many customers: only every third of their attempts in
#: flight counts.
_IN_FLIGHT_WEIGHT = {"ip": 1 / 3}

#: Budgets that a successful payment restores by one decline.
_FORGIVEN = ("ip", "user")

#: Seconds without calls to Redis after a failed one.
_REDIS_PAUSE_SECONDS = 5.0


#: The name of an attempt that is not in flight.
_NOT_IN_FLIGHT = ""


@dataclass
class Attempt:
    """An attempt to pay that is in flight. Leaving its context ends it.

    A card that is refused before it is charged (`INVALID_CARD` or `CARD_EXPIRED`, raised inside the context)
    counts as declined.

    Attributes:
        locked_out: whether further attempts are refused, after a decline.
    """

    _guard: AttemptGuard
    _id: str
    _in_flight: str
    _subjects: Sequence[Subject]
    _token: str | None
    _open: bool = True
    locked_out: bool = False

    def declined(
        self,
        decline: declines.Decline,
        card_fingerprint: str | None = None,
        attempt_id: str | None = None,
    ) -> declines.Decline:
        """Count a decline, unless it was counted before.

        Args:
            decline: the bank's reason.
            card_fingerprint: the gateway's identifier of the card number, if known.
            attempt_id: the gateway's id of the attempt, the same in every report; None if unknown.

        Returns:
            The decline to show: after a few declines, without the reason.
        """
        if not self._open or decline.code not in _CARD_CODES or decline in _NOT_OF_A_CARD:
            return decline
        self._open = False
        standing = self._guard.record_decline(
            self._subjects, card_fingerprint, self._token, self._in_flight, attempt_id or self._id
        )
        self.locked_out = standing.locked_out
        if standing.used < _VAGUE_SHARE and not standing.locked_out:
            return decline
        log.info("decline reason withheld", transaction_id=self._id, error_code=decline.code)
        return declines.GENERIC

    def paid(self) -> None:
        """Record that the payment succeeded."""
        self._end(_FORGIVEN)

    def left_open(self) -> None:
        """Remember the shopper's address: the outcome is reported later, without it."""
        for subject in self._subjects:
            if subject.kind == "ip":
                self._guard.keep_address(self._id, subject.name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._open and isinstance(error, Problem) and error.code in _CARD_CODES:
            self._open = False
            self._guard.record_decline(self._subjects, None, self._token, self._in_flight, self._id)
        self._end()

    def _end(self, forgiven: Sequence[str] = ()) -> None:
        if self._open:
            self._open = False
            self._guard.end(self._subjects, self._in_flight, forgiven)


class AttemptGuard:
    """Counts declined attempts and refuses further ones.

    While Redis is unavailable, each process counts separately: payments continue, and each process grants the
    full budget.

    Args:
        store: shared by all processes.
        budgets: limits for each kind of subject; a kind without limits is not counted.
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
            attempt: id of the attempt, for example the transaction id.
            booking_id, user_id: the booking and the user of the payment.
            customer_ip: the client, in the form of `client_of`, if the caller knows it.
            token: the gateway's id of the card for this payment. Its digest is kept.

        Raises:
            TooManyAttempts: a budget is used up. Has the time to wait, but not the budget.
        """
        if not self._budgets:
            return Attempt(self, attempt, _NOT_IN_FLIGHT, (), None, _open=False)
        subjects = self._subjects(booking_id, user_id, customer_ip)
        in_flight = f"{attempt} {booking_id}"
        digest = self._digest(token)
        now = self._clock()
        wait = self._call_store(lambda store: store.begin(subjects, digest, in_flight, now))
        if wait:
            metrics.ATTEMPTS_REFUSED.inc()
            log.warning("too many card attempts", booking_id=booking_id, user_id=user_id)
            raise TooManyAttempts(ceil(wait))
        return Attempt(self, attempt, in_flight, subjects, digest)

    def resume(self, attempt: str, *, booking_id: str, user_id: str, token: str | None) -> Attempt:
        """Return an attempt that was left open, to count its outcome. It is not in flight, and never refused.

        Args:
            attempt: id of the attempt when it began.
            booking_id, user_id, token: see `begin`.
        """
        if not self._budgets:
            return Attempt(self, attempt, _NOT_IN_FLIGHT, (), None, _open=False)
        now = self._clock()
        address = self._call_store(lambda store: store.address(attempt, now))
        subjects = self._subjects(booking_id, user_id, address)
        return Attempt(self, attempt, _NOT_IN_FLIGHT, subjects, self._digest(token))

    def keep_address(self, attempt: str, address: str) -> None:
        """See `Attempt.left_open`."""
        now = self._clock()
        self._call_store(lambda store: store.keep_address(attempt, address, now))

    def record_decline(
        self,
        subjects: Sequence[Subject],
        card_fingerprint: str | None,
        token: str | None,
        in_flight: str,
        attempt: str,
    ) -> Standing:
        """See `Attempt.declined`."""
        if card_fingerprint and "card" in self._budgets:
            subjects = [*subjects, self._subject("card", card_fingerprint)]
        now = self._clock()
        standing = self._call_store(lambda store: store.declined(subjects, token, in_flight, attempt, now))
        names = {subject.kind: subject.name for subject in subjects}
        for kind in standing.locked:
            metrics.LOCKOUTS.labels(kind).inc()
            # An address is personal data, so it is not logged. `movieapp attempts list` shows it while it is
            # locked.
            shown = None if kind == "ip" else names[kind]
            log.warning("locked out after declined attempts", kind=kind, subject=shown)
        return standing

    def end(self, subjects: Sequence[Subject], in_flight: str, forgiven: Sequence[str]) -> None:
        """See `Store.ended`."""
        self._call_store(lambda store: store.ended(subjects, in_flight, forgiven=forgiven))

    def locks(self) -> list[Lock]:
        """Return the lockouts, the latest end first.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        return self._shared.locks(self._clock())

    def lift(self, kind: str, name: str) -> bool:
        """Delete a subject's declines and lockouts. Return whether there were any.

        Raises:
            redis.RedisError: Redis is unavailable.
        """
        return self._shared.lift(kind, name)

    def _subjects(self, booking_id: str, user_id: str, customer_ip: str | None) -> list[Subject]:
        names = {"booking": booking_id, "user": user_id, "ip": customer_ip}
        return [self._subject(kind, name) for kind, name in names.items() if name and kind in self._budgets]

    def _digest(self, token: str | None) -> str | None:
        known = token and "card" in self._budgets
        return hashlib.sha256(str(token).encode()).hexdigest()[:32] if known else None

    def _subject(self, kind: str, name: str) -> Subject:
        return Subject(kind, name, self._budgets[kind], _IN_FLIGHT_WEIGHT.get(kind, 1.0))

    def _call_store(self, operation: Callable[[Store], T]) -> T:
        if time.monotonic() >= self._shared_again:
            try:
                return operation(self._shared)
            except redis.RedisError as error:
                self._shared_again = time.monotonic() + _REDIS_PAUSE_SECONDS
                log.warning("card attempts counted in this process only", reason=type(error).__name__)
        return operation(self._own)


def make_guard(settings: Settings) -> AttemptGuard:
    """Return a guard that uses the settings' Redis. It connects at the first attempt."""
    store = RedisStore(settings.redis_url, f"{settings.namespace}attempts:")
    return AttemptGuard(store, settings.card_attempt_budgets)
