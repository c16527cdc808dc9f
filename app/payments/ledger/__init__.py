"""The store of payments: an interface with implementations in MongoDB and, for the simulation, in memory.

Only the two implementations write payments. Only `Books` calls the methods that change a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from app.payments.records import OutboxEntry, Payment

#: Counting stops here, to keep the count of a large backlog cheap.
MAX_COUNTED = 10_000


class BookingTaken(Exception):
    """Another payment of the booking is open or completed.

    Attributes:
        transaction_id: id of that payment; None if it was closed meanwhile.
    """

    def __init__(self, transaction_id: str | None) -> None:
        super().__init__(transaction_id)
        self.transaction_id = transaction_id


@dataclass(frozen=True, slots=True)
class Unpublished:
    """An event in the outbox of a payment."""

    booking_id: str
    transaction_id: str
    event: OutboxEntry


class Ledger(Protocol):
    """Store of payments, each with its refunds, disputes, history, and outbox.

    Every method raises `ServiceUnavailable` if the database is unavailable. A write with an unknown outcome
    raises its subclass `Unacknowledged`.
    """

    def insert(self, payment: Payment) -> None:
        """Store a new payment and claim its booking, in one write.

        Raises:
            BookingTaken: another payment has the booking, or the id exists.
        """

    def write(self, before: Payment, after: Payment) -> bool:
        """Replace `before` with `after` in one write, unless the record has changed since it was read.

        A new event in `after` becomes due for publishing. The status decides whether the payment holds its
        booking. If another payment holds it, `after` is stored without the booking.

        Args:
            before: the record as read.
            after: the changed record; this method increments its revision.

        Returns:
            True if it was stored.
        """

    def find(self, transaction_id: str) -> Payment | None:
        """Return the payment with that id (`TXN-…`), or None."""

    def find_by_refund(self, refund_id: str) -> Payment | None:
        """Return the payment of the refund with that id (`REF-…`), or None."""

    def find_by_gateway_id(self, gateway_id: str) -> Payment | None:
        """Return the payment with that gateway id, or None."""

    def find_all(self, transaction_ids: Collection[str]) -> dict[str, Payment]:
        """Return the existing payments with those ids, by id."""

    def find_all_by_gateway_id(self, gateway_ids: Collection[str]) -> dict[str, Payment]:
        """Return the payments with those gateway ids, by gateway id."""

    def find_by_bookings(self, booking_ids: Collection[str]) -> Iterator[Payment]:
        """Return all payments of those bookings, in any order."""

    def search(
        self,
        limit: int | None,
        *,
        status: str | None = None,
        booking_id: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[Payment]:
        """Return payments that meet every given condition, newest first; at most `limit`, or all if it is
        None."""

    def paid_since(self, since: datetime, until: datetime) -> Iterator[Payment]:
        """Return payments created in the range that the gateway must have charged."""

    def count_paid_since(self, since: datetime, until: datetime) -> int:
        """Return the number of payments that `paid_since` returns."""

    def refunded_since(self, since: datetime) -> Iterator[Payment]:
        """Return payments with a refund processed since then."""

    def disputed(self, limit: int) -> list[Payment]:
        """Return payments with an open dispute, newest first."""

    def kept_stray_charges(self, limit: int) -> list[Payment]:
        """Return payments with a stray charge that only an operator can refund."""

    def due(self, before: datetime, limit: int) -> list[Payment]:
        """Return payments that were due for a lookup before then, the longest overdue first; at most
        `limit`."""

    def claim(
        self, transaction_ids: Collection[str], now: datetime, until: datetime, token: str
    ) -> list[Payment]:
        """Claim those of some payments that are still due for a lookup.

        Args:
            transaction_ids: due payments. Another process may have claimed some.
            now: the time, UTC.
            until: expiry of the claim.
            token: unguessable id of the claim.

        Returns:
            The claimed payments.
        """

    def renew(self, token: str, transaction_ids: Collection[str], until: datetime) -> None:
        """Extend a claim on its payments that still need a lookup."""

    def count_overdue(self, before: datetime) -> int:
        """Return the number of payments that were due before then, at most `MAX_COUNTED`."""

    def unpublished(self, booking_ids: Collection[str]) -> list[Unpublished]:
        """Return all events in the outboxes of those bookings, oldest first."""

    def take_out(self, entries: Collection[Unpublished]) -> None:
        """Remove published events from their outboxes. Others may have removed some already."""

    def claim_unpublished(self, before: datetime, now: datetime, until: datetime, limit: int) -> set[str]:
        """Claim bookings with an event that has waited since `before`, the oldest first.

        Args:
            before: only events older than this.
            now: the time, UTC.
            until: expiry of the claim.
            limit: at most this many payments.
        """

    def backlog(self) -> tuple[int, datetime | None]:
        """Return the number of payments with an unpublished event, at most `MAX_COUNTED`, and the age of the
        oldest."""
