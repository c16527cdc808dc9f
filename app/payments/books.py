"""The only way to change a payment: decide, store, report, and publish."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.errors import DuplicateTransaction, ServiceUnavailable, TransactionNotFound
from app.payments import reporting
from app.payments.ledger import BookingTaken

if TYPE_CHECKING:
    from app.payments.ledger import Ledger
    from app.payments.records import Payment, Refund

#: Called with a booking whose payments have new events to publish.
Announce = Callable[[str], None]


def announce_nothing(_booking_id: str) -> None:
    """Leave an event to a relay's sweep."""


#: Decides on a change: the record as stored → the record to store, or the same object for no change.
Change = Callable[["Payment"], "Payment"]

#: How long to retry recording a gateway outcome. With default settings, an election of a MongoDB replica set
#: takes 12 s or more.
ELECTION = timedelta(seconds=20)

_PAUSE_SECONDS = 0.5


class Books:
    """Opens and changes payments.

    Args:
        ledger: store of payments.
        announce: called with the booking id after an event is stored; without it, the event waits for a
            relay's sweep.
        sleep: waits between attempts, in seconds.
    """

    def __init__(
        self,
        ledger: Ledger,
        announce: Announce = announce_nothing,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.ledger = ledger
        self._announce = announce
        self._sleep = sleep

    def get(self, transaction_id: str) -> Payment:
        """Return the payment with that id.

        Raises:
            TransactionNotFound: no record has this id.
            ServiceUnavailable: the database is unavailable.
        """
        return _found(self.ledger.find(transaction_id), transaction_id)

    def get_refund(self, refund_id: str) -> tuple[Payment, Refund]:
        """Return a refund and its payment.

        Raises:
            TransactionNotFound: no record has this id.
            ServiceUnavailable: the database is unavailable.
        """
        payment = _found(self.ledger.find_by_refund(refund_id), refund_id)
        refund = payment.refund(refund_id)
        if refund is None:
            raise _not_found(refund_id)
        return payment, refund

    def open(self, payment: Payment) -> Payment:
        """Record a new payment, and claim its booking. Return the stored payment.

        Raises:
            DuplicateTransaction: another payment of the booking is open or completed. Has its id.
            ServiceUnavailable: the payment is not recorded, or the database did not confirm it. Recovery
            never charges, so "nothing was tried" stays true.
        """
        try:
            self.ledger.insert(payment)
        except BookingTaken as taken:
            # Without an id, it was closed between the two reads, and the caller may try again.
            details = {"transaction_id": taken.transaction_id} if taken.transaction_id else {}
            message = "This booking already has a payment."
            raise DuplicateTransaction(message, booking_id=payment.booking_id, **details) from None
        return reporting.stored(payment)

    def change(self, payment: Payment, decide: Change) -> Payment:
        """Change a payment. If the record changed meanwhile, decide again with the newest record.

        Args:
            payment: the record as read.
            decide: returns the changed record; may raise to refuse.

        Returns:
            The current payment.

        Raises:
            ServiceUnavailable: the database is unavailable; Unacknowledged if the change may be stored.
        """
        while True:
            after = decide(payment)
            if after is payment:
                return payment
            if self.ledger.write(payment, after):
                after = reporting.stored(after)
                reporting.report(payment, after)
                if len(after.outbox) > len(payment.outbox):
                    self._announce(after.booking_id)
                return after
            payment = self.get(payment.id)

    def record(self, payment: Payment, decide: Change) -> Payment:
        """Change a payment after the gateway has acted. Retries for the duration of a replica set election.

        A change that was stored without acknowledgment is found in the newer record, and not applied twice.

        Raises:
            ServiceUnavailable: the database stayed unavailable. Recovery will look it up and record it.
        """
        until = utcnow() + ELECTION
        while True:
            try:
                return self.change(payment, decide)
            except ServiceUnavailable:
                if utcnow() >= until:
                    raise
                self._sleep(_PAUSE_SECONDS)
                payment = self._newest(payment)

    def _newest(self, payment: Payment) -> Payment:
        try:
            return self.get(payment.id)
        except ServiceUnavailable:
            return payment


def _found(payment: Payment | None, transaction_id: str) -> Payment:
    if payment is None:
        raise _not_found(transaction_id)
    return payment


def _not_found(transaction_id: str) -> TransactionNotFound:
    return TransactionNotFound("No transaction has this id.", transaction_id=transaction_id)
