"""In-memory ledger, for the simulation and for tests without a database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from datetime import datetime

from app.payments.ledger import MAX_COUNTED, BookingTaken, Unpublished
from app.payments.records import Payment
from app.payments.states import OPEN, PAID


class MemoryLedger:
    """A `Ledger` in memory. Not safe for threads."""

    def __init__(self) -> None:
        self._payments: dict[str, Payment] = {}
        #: Booking → the payment that has taken it.
        self._open: dict[str, str] = {}
        #: Payment → the claim under which its outcome is looked up.
        self._claims: dict[str, str] = {}
        #: Payment → until when its events are claimed for publishing.
        self._publishing: dict[str, datetime] = {}

    def insert(self, payment: Payment) -> None:
        if payment.id in self._payments or payment.booking_id in self._open:
            raise BookingTaken(self._open.get(payment.booking_id))
        self._store(payment)

    def write(self, before: Payment, after: Payment) -> bool:
        stored = self._payments.get(before.id)
        if stored is None or stored.revision != before.revision:
            return False
        # Events published meanwhile were removed from the outbox without a new revision.
        added = after.outbox[len(before.outbox) :]
        self._store(replace(after, outbox=(*stored.outbox, *added)))
        return True

    def _store(self, payment: Payment) -> None:
        self._payments[payment.id] = replace(payment, revision=payment.revision + 1)
        if payment.status in OPEN:
            self._open.setdefault(payment.booking_id, payment.id)
        elif self._open.get(payment.booking_id) == payment.id:
            del self._open[payment.booking_id]

    def find(self, transaction_id: str) -> Payment | None:
        return self._payments.get(transaction_id)

    def find_by_refund(self, refund_id: str) -> Payment | None:
        return self._first(lambda payment: payment.refund(refund_id) is not None)

    def find_by_gateway_id(self, gateway_id: str) -> Payment | None:
        return self._first(lambda payment: payment.gateway_id == gateway_id)

    def find_all(self, transaction_ids: Collection[str]) -> dict[str, Payment]:
        return {one: self._payments[one] for one in transaction_ids if one in self._payments}

    def find_all_by_gateway_id(self, gateway_ids: Collection[str]) -> dict[str, Payment]:
        found = (payment for payment in self._payments.values() if payment.gateway_id in gateway_ids)
        return {payment.gateway_id: payment for payment in found if payment.gateway_id}

    def find_by_bookings(self, booking_ids: Collection[str]) -> Iterator[Payment]:
        requested = set(booking_ids)
        for payment in list(self._payments.values()):
            if payment.booking_id in requested:
                yield payment

    def search(
        self,
        limit: int | None,
        *,
        status: str | None = None,
        booking_id: str | None = None,
        user_id: str | None = None,
        since: datetime | None = None,
    ) -> Iterator[Payment]:
        found = [
            payment
            for payment in self._payments.values()
            if (status is None or payment.status == status)
            and (booking_id is None or payment.booking_id == booking_id)
            and (user_id is None or payment.user_id == user_id)
            and (since is None or payment.created_at >= since)
        ]
        yield from sorted(found, key=lambda payment: payment.created_at, reverse=True)[:limit]

    def paid_since(self, since: datetime, until: datetime) -> Iterator[Payment]:
        for payment in list(self._payments.values()):
            if payment.status in PAID and since <= payment.created_at < until:
                yield payment

    def count_paid_since(self, since: datetime, until: datetime) -> int:
        return sum(1 for _ in self.paid_since(since, until))

    def refunded_since(self, since: datetime) -> Iterator[Payment]:
        for payment in list(self._payments.values()):
            if any(refund.processed_at and refund.processed_at >= since for refund in payment.refunds):
                yield payment

    def disputed(self, limit: int) -> list[Payment]:
        found = [
            payment
            for payment in self._payments.values()
            if any(not dispute.closed for dispute in payment.disputes)
        ]
        return sorted(found, key=lambda payment: payment.created_at, reverse=True)[:limit]

    def kept_stray_charges(self, limit: int) -> list[Payment]:
        kept = (one for one in self._payments.values() if one.stray_charge and not one.recover_after)
        return list(kept)[:limit]

    def due(self, before: datetime, limit: int) -> list[Payment]:
        due = [one for one in self._payments.values() if one.recover_after and one.recover_after < before]
        return sorted(due, key=lambda payment: payment.recover_after or before)[:limit]

    def claim(
        self, transaction_ids: Collection[str], now: datetime, until: datetime, token: str
    ) -> list[Payment]:
        claimed = [one.id for one in self.due(now, len(self._payments)) if one.id in transaction_ids]
        self._claims |= dict.fromkeys(claimed, token)
        self.renew(token, claimed, until)
        return [self._payments[one] for one in claimed]

    def renew(self, token: str, transaction_ids: Collection[str], until: datetime) -> None:
        for one in transaction_ids:
            if self._claims.get(one) == token and self._payments[one].recover_after:
                self._payments[one] = replace(self._payments[one], recover_after=until)

    def count_overdue(self, before: datetime) -> int:
        overdue = (one for one in self._payments.values() if one.recover_after and one.recover_after < before)
        return min(sum(1 for _ in overdue), MAX_COUNTED)

    def unpublished(self, booking_ids: Collection[str]) -> list[Unpublished]:
        waiting = [
            Unpublished(payment.booking_id, payment.id, entry)
            for payment in self._payments.values()
            if payment.booking_id in booking_ids
            for entry in payment.outbox
        ]
        return sorted(waiting, key=lambda entry: entry.event.created_at)

    def take_out(self, entries: Collection[Unpublished]) -> None:
        for entry in entries:
            payment = self._payments[entry.transaction_id]
            left = tuple(one for one in payment.outbox if one.event_id != entry.event.event_id)
            self._payments[payment.id] = replace(payment, outbox=left)

    def claim_unpublished(self, before: datetime, now: datetime, until: datetime, limit: int) -> set[str]:
        waiting = [
            payment
            for payment in self._payments.values()
            if payment.outbox
            and payment.outbox[0].created_at < before
            and self._publishing.get(payment.id, now) <= now
        ]
        waiting.sort(key=lambda payment: payment.outbox[0].created_at)
        claimed = waiting[:limit]
        self._publishing |= dict.fromkeys((payment.id for payment in claimed), until)
        return {payment.booking_id for payment in claimed}

    def backlog(self) -> tuple[int, datetime | None]:
        oldest = [payment.outbox[0].created_at for payment in self._payments.values() if payment.outbox]
        return min(len(oldest), MAX_COUNTED), min(oldest, default=None)

    def _first(self, matches: Callable[[Payment], bool]) -> Payment | None:
        return next((payment for payment in self._payments.values() if matches(payment)), None)
