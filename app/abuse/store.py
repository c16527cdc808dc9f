"""Types of the store of declined attempts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from app.settings.budgets import Budget

#: Seconds of the first lockout, and of later ones while the level is kept.
LOCKOUT_SECONDS = (900, 3_600, 4 * 3_600, 24 * 3_600)

#: Seconds after the end of a lockout for which the next one is longer.
LEVEL_KEPT_SECONDS = 7 * 86_400

#: Divisor of a budget after a lockout, while its level is kept.
PROBATION_DIVISOR = 3

#: Seconds after which an attempt that never ended is forgotten.
LEASE_SECONDS = 120

#: Seconds to wait while attempts in flight could use up a budget.
BUSY_SECONDS = 5

#: Seconds for which the card behind a token is remembered.
TOKEN_KEPT_SECONDS = 86_400

#: Seconds for which a counted decline is recognized: the gateway repeats a webhook for three days.
ATTEMPT_KEPT_SECONDS = 3 * 86_400

#: Seconds for which the shopper's address of an open payment is remembered.
ADDRESS_KEPT_SECONDS = 86_400


@dataclass(frozen=True)
class Subject:
    """A booking, user, client address, or card whose attempts are counted.

    Attributes:
        kind: booking, user, ip, or card.
        name: its id, address, or fingerprint.
        budgets: limits of declines.
        weight: how much an attempt in flight counts, where a decline counts 1.
    """

    kind: str
    name: str
    budgets: Sequence[Budget]
    weight: float = 1.0

    @property
    def key(self) -> str:
        """Return the subject's key in a store."""
        return f"{self.kind}:{self.name}"


@dataclass(frozen=True)
class Standing:
    """The state of the subjects after a decline.

    Attributes:
        used: the largest share of a subject's first budget that is used up.
        locked: the kinds of the subjects that this decline locked out.
        locked_out: whether any subject is locked out, by this decline or an earlier one.
    """

    used: float
    locked: Sequence[str] = ()
    locked_out: bool = False


@dataclass(frozen=True)
class Lock:
    """A subject that is locked out.

    Attributes:
        until: seconds since 1970.
        level: number of recent lockouts.
    """

    kind: str
    name: str
    until: float
    level: int

    @classmethod
    def of(cls, key: str, until: float, level: int) -> Self:
        """Return the lockout of the subject with the given key."""
        kind, _, name = key.partition(":")
        return cls(kind, name, until, level)


class Store(Protocol):
    """Store of declines, attempts in flight, and lockouts. Times are in seconds since 1970.

    An attempt in flight has a name, `ATTEMPT BOOKING`: its id, without spaces, and its booking.
    """

    def begin(self, subjects: Sequence[Subject], token: str | None, in_flight: str, now: float) -> float:
        """Record an attempt in flight and return 0, or return the seconds to wait.

        A card is recognized by its `token` if it was declined with that token before. Attempts of the same
        booking count as one until the last has ended: at most one of them reaches the gateway.
        """

    def declined(
        self, subjects: Sequence[Subject], token: str | None, in_flight: str, attempt: str, now: float
    ) -> Standing:
        """Turn an attempt in flight into a decline. Lock out each subject that has used up a budget.

        A decline is counted once, however often `attempt` is reported.
        """

    def ended(self, subjects: Sequence[Subject], in_flight: str, *, forgiven: Sequence[str] = ()) -> None:
        """Forget an attempt in flight, and the oldest decline of each subject of the kinds in `forgiven`."""

    def keep_address(self, payment: str, address: str, now: float) -> None:
        """Remember the shopper's address of an open payment."""

    def address(self, payment: str, now: float) -> str | None:
        """Return the shopper's address of a payment, if it is remembered."""

    def locks(self, now: float) -> list[Lock]:
        """Return the lockouts, the latest end first."""

    def lift(self, kind: str, name: str) -> bool:
        """Delete a subject's declines and lockouts. Return whether it had any."""
