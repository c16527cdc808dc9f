"""In-process store of declines, used while Redis is unavailable."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from app.abuse.store import (
    ADDRESS_KEPT_SECONDS,
    ATTEMPT_KEPT_SECONDS,
    BUSY_SECONDS,
    LEASE_SECONDS,
    LEVEL_KEPT_SECONDS,
    LOCKOUT_SECONDS,
    PROBATION_DIVISOR,
    Lock,
    Standing,
    Subject,
)

#: Entries of each kind that are remembered; the oldest are forgotten first.
_MAX_REMEMBERED = 10_000

V = TypeVar("V")


@dataclass
class _State:
    declines: list[float] = field(default_factory=list)
    in_flight: dict[str, float] = field(default_factory=dict)
    until: float = 0.0
    level: int = 0

    def limit(self, count: int) -> int:
        return max(1, count // PROBATION_DIVISOR) if self.level else count

    def forget(self, now: float, longest: int) -> None:
        self.declines = [when for when in self.declines if when > now - longest]
        self.in_flight = {name: end for name, end in self.in_flight.items() if end > now}
        if self.until + LEVEL_KEPT_SECONDS <= now:
            self.level = 0


class MemoryStore:
    """A `Store` in this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: OrderedDict[str, _State] = OrderedDict()
        self._cards: OrderedDict[str, str] = OrderedDict()
        #: Counted attempts, each with the time at which it was counted.
        self._counted: OrderedDict[str, float] = OrderedDict()
        #: Shoppers' addresses of open payments, each with its expiry.
        self._addresses: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def begin(self, subjects: Sequence[Subject], token: str | None, in_flight: str, now: float) -> float:
        """See `Store.begin`."""
        with self._lock:
            keys = [subject.key for subject in subjects]
            if token and token in self._cards:
                keys.append(self._cards[token])
            wait = max((self._states[key].until - now for key in keys if key in self._states), default=0.0)
            if wait > 0:
                return wait
            states = [self._state(subject, now) for subject in subjects]
            for subject, state in zip(subjects, states, strict=True):
                bookings = {_booking(other) for other in state.in_flight} - {_booking(in_flight)}
                others = len(bookings) * subject.weight
                for count, seconds in subject.budgets:
                    used = _since(state, now - seconds) + others
                    if used >= state.limit(count):
                        return BUSY_SECONDS
            for state in states:
                state.in_flight[in_flight] = now + LEASE_SECONDS
            return 0.0

    def declined(
        self, subjects: Sequence[Subject], token: str | None, in_flight: str, attempt: str, now: float
    ) -> Standing:
        """See `Store.declined`."""
        with self._lock:
            used, locked, out = 0.0, [], False
            counted_at = self._counted.get(attempt)
            new = counted_at is None or now - counted_at > ATTEMPT_KEPT_SECONDS
            if new:
                _remember(self._counted, attempt, now)
            for subject in subjects:
                state = self._state(subject, now)
                state.in_flight.pop(in_flight, None)
                if new:
                    state.declines.append(now)
                first = subject.budgets[0]
                used = max(used, _since(state, now - first.seconds) / state.limit(first.limit))
                if new and any(
                    _since(state, now - seconds) >= state.limit(count) for count, seconds in subject.budgets
                ):
                    state.until = now + LOCKOUT_SECONDS[min(state.level, len(LOCKOUT_SECONDS) - 1)]
                    state.level += 1
                    state.declines = []
                    locked.append(subject.kind)
                out = out or state.until > now
                if subject.kind == "card" and token:
                    _remember(self._cards, token, subject.key)
            return Standing(used, locked, out)

    def ended(self, subjects: Sequence[Subject], in_flight: str, *, forgiven: Sequence[str] = ()) -> None:
        """See `Store.ended`."""
        with self._lock:
            for subject in subjects:
                state = self._states.get(subject.key, _State())
                state.in_flight.pop(in_flight, None)
                if subject.kind in forgiven:
                    del state.declines[:1]

    def keep_address(self, payment: str, address: str, now: float) -> None:
        """See `Store.keep_address`."""
        with self._lock:
            _remember(self._addresses, payment, (address, now + ADDRESS_KEPT_SECONDS))

    def address(self, payment: str, now: float) -> str | None:
        """See `Store.address`."""
        with self._lock:
            address, expiry = self._addresses.get(payment, (None, 0.0))
        return address if expiry > now else None

    def locks(self, now: float) -> list[Lock]:
        """See `Store.locks`."""
        with self._lock:
            found = [
                Lock.of(key, state.until, state.level)
                for key, state in self._states.items()
                if state.until > now
            ]
        return sorted(found, key=lambda lock: -lock.until)

    def lift(self, kind: str, name: str) -> bool:
        """See `Store.lift`."""
        with self._lock:
            return self._states.pop(f"{kind}:{name}", None) is not None

    def _state(self, subject: Subject, now: float) -> _State:
        state = self._states.get(subject.key) or _State()
        _remember(self._states, subject.key, state)
        state.forget(now, max(budget.seconds for budget in subject.budgets))
        return state


def _remember(known: OrderedDict[str, V], key: str, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MAX_REMEMBERED:
        known.popitem(last=False)


def _booking(in_flight: str) -> str:
    return in_flight.partition(" ")[2]


def _since(state: _State, start: float) -> int:
    return sum(when > start for when in state.declines)
