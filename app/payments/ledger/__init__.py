"""Where payments are kept: an interface, with MongoDB behind it in production and memory in the simulation.

Only the two implementations write payments. `Books` is the only caller of what changes a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from datetime import datetime

    from app.payments.records import OutboxEntry, Payment

#: A count of a large backlog must stay cheap: it stops here.
MAX_COUNTED = 10_000


class BookingTaken(Exception):
    """Another payment of the booking is open or completed.

    Attributes:
        transaction_id: of that payment; None if it was closed meanwhile.
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
    """Payments, each with its refunds, disputes, history, and outbox.

    Every method raises `ServiceUnavailable` if the database does not answer. A write that may have been
    carried out all the same raises its subclass `Unacknowledged`.
    """

    def insert(self, payment: Payment) -> None:
        """Store a new payment and claim its booking, in one write.

        Raises:
            BookingTaken: another payment holds the booking, or the id exists.
        """

    def write(self, before: Payment, after: Payment) -> bool:
        """Store `after` in place of `before`, in one write, unless the record has changed since it was read.

        The event that `after` adds becomes due for publishing. Whether the booking is taken follows from the
        status; a payment that can't take its booking back, because another has it, is stored without it.

        Args:
            before: the record as it was read.
            after: the record with a change; its revision is raised by this method.

        Returns:
            Whether it was stored.
        """

    def find(self, transaction_id: str) -> Payment | None:
        """The payment with that id (`TXN-…`)."""

    def find_by_refund(self, refund_id: str) -> Payment | None:
        """The payment that the refund with that id (`REF-…`) belongs to."""

    def find_by_gateway_id(self, gateway_id: str) -> Payment | None:
        """The payment that the gateway knows by that id."""

    def find_all(self, transaction_ids: Collection[str]) -> dict[str, Payment]:
        """The payments with those ids that exist, by id."""

    def find_all_by_gateway_id(self, gateway_ids: Collection[str]) -> dict[str, Payment]:
        """The payments that the gateway knows by those ids, by that id."""

    def search(
        self,
        limit: int,
        *,
        status: str | None = None,
        booking_id: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
    ) -> list[Payment]:
        """Payments that meet every condition given, newest first."""

    def paid_since(self, since: datetime, until: datetime) -> Iterator[Payment]:
        """Payments created in between that the gateway must have charged."""

    def refunded_since(self, since: datetime) -> Iterator[Payment]:
        """Payments with a refund that was processed since then."""

    def disputed(self, limit: int) -> list[Payment]:
        """Payments with a dispute that is open, newest first."""

    def claim_due(self, now: datetime, until: datetime, token: str, limit: int) -> list[Payment]:
        """Claim payments whose outcome is to be looked up by now, the longest overdue first.

        Args:
            now: the time, UTC.
            until: nobody else gets them before then.
            token: names the claim, unguessable.
            limit: at most this many.
        """

    def renew(self, token: str, transaction_ids: Collection[str], until: datetime) -> None:
        """Extend a claim on those of its payments that still have something to look up."""

    def count_overdue(self, before: datetime) -> int:
        """How many payments should have been looked up before then (`MAX_COUNTED` at most)."""

    def unpublished(self, booking_ids: Collection[str]) -> list[Unpublished]:
        """Every event in the outboxes of those bookings, oldest first."""

    def take_out(self, entries: Collection[Unpublished]) -> None:
        """Take published events out of their outboxes. Some may have been taken out by somebody else."""

    def claim_unpublished(self, before: datetime, now: datetime, until: datetime, limit: int) -> set[str]:
        """Claim bookings with an event that has waited since `before`, the oldest first.

        Args:
            before: only events older than this.
            now: the time, UTC.
            until: nobody else gets them before then.
            limit: at most this many payments.
        """

    def backlog(self) -> tuple[int, datetime | None]:
        """How many payments have an event to publish (`MAX_COUNTED` at most), and the age of the oldest."""
