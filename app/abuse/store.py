"""What is kept about declined attempts, and what a place to keep it has to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from app.settings.budgets import Budget

#: Seconds of the first lockout, and of those that follow while the level is kept.
LOCKOUTS = (900, 3_600, 4 * 3_600, 24 * 3_600)

#: Seconds after the end of a lockout for which the next one is longer.
LEVEL_KEPT_SECONDS = 7 * 86_400

#: After a lockout, while its level is kept, a budget is divided by this.
PROBATION_DIVISOR = 3

#: Seconds after which an attempt that never ended is forgotten.
LEASE_SECONDS = 120

#: Seconds to wait while attempts in flight could use up a budget.
BUSY_SECONDS = 5

#: Seconds for which the card behind a token is remembered.
TOKEN_KEPT_SECONDS = 86_400


@dataclass(frozen=True)
class Subject:
    """Who or what attempts are counted for.

    Attributes:
        kind: booking, user, ip, or card.
        name: its id, address, or fingerprint.
        budgets: how many declines it has.
        weight: how much an attempt in flight counts in comparison with a decline.
    """

    kind: str
    name: str
    budgets: Sequence[Budget]
    weight: float = 1.0

    @property
    def key(self) -> str:
        """Return its key in a store."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Standing:
    """What a recorded decline led to.

    Attributes:
        used: the largest share of a subject's first budget that is used up.
        locked: the kinds of the subjects that this decline locked out.
    """

    used: float
    locked: Sequence[str] = ()


@dataclass(frozen=True)
class Lock:
    """A subject that is locked out.

    Attributes:
        until: seconds since 1970.
        level: the number of its lockouts that are remembered.
    """

    kind: str
    name: str
    until: float
    level: int

    @classmethod
    def of(cls, key: str, until: float, level: int) -> Self:
        """Return the lock of the subject with a key."""
        kind, _, name = key.partition(":")
        return cls(kind, name, until, level)


class Store(Protocol):
    """Keeps declines, attempts in flight, and lockouts. Times are seconds since 1970."""

    def begin(self, subjects: Sequence[Subject], token: str | None, slot: str, now: float) -> float:
        """Note an attempt in flight and return 0, or return the seconds to wait before another one.

        A card is recognized by its `token` if it was declined with that token before. Attempts in the same
        `slot` count as one: of those for one booking, one at most reaches the gateway.
        """

    def declined(
        self, subjects: Sequence[Subject], token: str | None, slot: str, attempt: str, now: float
    ) -> Standing:
        """Turn an attempt in flight into a decline. Lock out each subject that has used up a budget."""

    def ended(self, subjects: Sequence[Subject], slot: str, *, forgiven: Sequence[str] = ()) -> None:
        """Forget an attempt in flight, and the oldest decline of each subject of the kinds in `forgiven`."""

    def locks(self, now: float) -> list[Lock]:
        """Return who is locked out, the longest first."""

    def lift(self, kind: str, name: str) -> bool:
        """Forget declines and lockouts of a subject; whether there were any."""
