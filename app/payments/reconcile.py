"""Reconcile our records with the gateway's, in both directions: charges, refunds, and disputes.

Recovery and webhooks settle everything in normal operation. Reconciliation finds what they can't: the effects
of a restored backup, refunds made in the gateway's dashboard, and bugs in movieapp.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from app.clock import utcnow
from app.disk_set import DiskSet
from app.errors import DuplicateTransaction
from app.gateway import Charged, Refunded, RefundFailed
from app.payments import changes
from app.payments.agreement import disagreement
from app.payments.records import Dispute, Payment, Refund, Step
from app.payments.states import UNPAID, Actor, PaymentStatus, RefundStatus

if TYPE_CHECKING:
    from app.gateway import GatewayDispute, GatewayPayment, GatewayRefund
    from app.payments.service import Payments

T = TypeVar("T")

#: Records compared at a time.
_BATCH_SIZE = 200

#: Payments younger than this may not be settled yet.
_SETTLING = timedelta(minutes=5)

#: Maximum difference between the gateway's clock and ours.
_CLOCK_SKEW = timedelta(minutes=10)


@dataclass(frozen=True)
class Repair:
    """The repair of a difference.

    Attributes:
        what: the repair in the imperative: "refund 99.00 USD".
        act: carries out the repair. Returns what it did, and whether the difference is repaired.
        refunds: the refunded amount in major units, and its currency; None if no money moves.
    """

    what: str
    act: Callable[[], tuple[str, bool]]
    refunds: tuple[Decimal, str] | None = None


@dataclass(frozen=True)
class Difference:
    """A difference between our records and the gateway's.

    Attributes:
        kind: kind of difference, stable for programs.
        subject: the id of the transaction or refund, else the gateway's id.
        detail: the values on both sides.
        repair: the possible repair; None leaves it to an operator.
        repaired: the completed repair, or None.
    """

    kind: str
    subject: str
    detail: str
    repair: Repair | None = None
    repaired: str | None = None


class Watch(Protocol):
    """Passes items on, and shows how many of them were compared."""

    def __call__(self, items: Iterable[T], total: int, label: str, /) -> Iterable[T]:
        """Yield `items`, of which there are about `total`."""


def _unwatched(items: Iterable[T], _total: int, _label: str) -> Iterable[T]:
    return items


def repaired(difference: Difference) -> Difference:
    """Carry out the repair of a difference, if it has one. If it fails, the detail says why.

    Raises:
        GatewayError: the gateway is unavailable.
        ServiceUnavailable: the database is unavailable.
    """
    if difference.repair is None:
        return difference
    result, done = difference.repair.act()
    if done:
        return replace(difference, repaired=result)
    return replace(difference, detail=f"{difference.detail}; {result}")


class Reconciliation:
    """Reconciles payments created since `since`, in memory that does not grow with their number.

    Args:
        payments: the payment service, for repairs.
        since: earliest creation time of payments, refunds, and disputes.
        watch: shows the progress.
    """

    def __init__(self, payments: Payments, since: datetime, watch: Watch = _unwatched) -> None:
        self._payments = payments
        self._books = payments.books
        self._gateway = payments.gateway
        self._since = since
        self._watch = watch

    def differences(self) -> Iterator[Difference]:
        """Yield every difference.

        Raises:
            GatewayError: the gateway did not return its records.
            ServiceUnavailable: the database is unavailable.
        """
        until = utcnow() - _SETTLING
        count = self._books.ledger.count_paid_since(self._since, until)
        with closing(DiskSet()) as charged:
            yield from self._compare_charges(charged, count)
            yield from self._compare_records(charged, until, count)
        with closing(DiskSet()) as refunded:
            yield from self._compare_refunds(refunded)
        yield from self._compare_disputes()

    def _compare_charges(self, charged: DiskSet, count: int) -> Iterator[Difference]:
        """Compare the gateway's charges with our records, without other deployments' charges.

        Args:
            charged: where this method adds the transaction ids that the gateway charged.
            count: estimated number of charges.
        """
        charges = self._watch(self._gateway.payments(self._since - _CLOCK_SKEW), count, "Comparing charges")
        with closing(DiskSet()) as agreed:
            for batch in _batches(payment for payment in charges if isinstance(payment.outcome, Charged)):
                records = self._books.ledger.find_all([fact.transaction_id for fact in batch])
                for fact in batch:
                    yield from self._compare_charge(fact, records.get(fact.transaction_id), charged, agreed)

    def _compare_charge(
        self, fact: GatewayPayment, record: Payment | None, charged: DiskSet, agreed: DiskSet
    ) -> Iterator[Difference]:
        """Compare a charge.

        Args:
            fact: the charge.
            record: our payment with its transaction id, or None.
            charged: transaction ids that the gateway charged.
            agreed: those of them whose charge agreed with our record.
        """
        transaction_id = fact.transaction_id or ""
        if record is None and fact.namespace != self._payments.settings.namespace:
            return  # without a namespace, it may belong to another deployment
        charge = f"{fact.gateway_id}: {fact.amount} {fact.currency}"
        field = record and disagreement(record, fact, self._payments.settings.namespace)
        if record and record.gateway_id == fact.gateway_id:
            charged.add(transaction_id)
        # A foreign charge with a copy of our id must not hide our own.
        if record and field in ("amount", "currency"):
            detail = f"{charge}, recorded {record.amount} {record.currency}"
            yield Difference("amount differs", transaction_id, detail)
            return
        if field and field != "gateway_id":
            yield Difference("charge of another payment", transaction_id, f"{charge}, {field} differs")
            return
        if transaction_id in agreed:
            yield Difference("charged twice", transaction_id, charge)
            return
        agreed.add(transaction_id)
        charged.add(transaction_id)
        if record is None:
            yield Difference("charge without record", transaction_id, charge, self._recreation(fact))
        elif record.status in UNPAID:
            repair = None if _is_being_refunded(record) else self._undoing(record, fact)
            yield Difference(f"charged, recorded as {record.status}", transaction_id, charge, repair)

    def _compare_records(self, charged: DiskSet, until: datetime, count: int) -> Iterator[Difference]:
        """Compare our records with the gateway's charges."""
        paid = self._books.ledger.paid_since(self._since, until)
        for payment in self._watch(paid, count, "Comparing records"):
            if payment.id not in charged and not self._has_been_charged(payment):
                detail = f"recorded as {payment.status}, not charged as {payment.gateway_id}"
                yield Difference("record without charge", payment.id, detail)

    def _has_been_charged(self, payment: Payment) -> bool:
        """Look up a payment that may have been completed after the listing had passed it."""
        fact = self._gateway.payment(payment.gateway_id) if payment.gateway_id else None
        namespace = self._payments.settings.namespace
        return bool(fact and isinstance(fact.outcome, Charged) and not disagreement(payment, fact, namespace))

    def _compare_refunds(self, refunded: DiskSet) -> Iterator[Difference]:
        """Compare refunds in both directions.

        Args:
            refunded: where this method adds the gateway's ids of its refunds.
        """
        for batch in _batches(self._gateway.refunds(since=self._since - _CLOCK_SKEW)):
            charges = [fact.payment_gateway_id for fact in batch if fact.payment_gateway_id]
            records = self._books.ledger.find_all_by_gateway_id(charges)
            # Failed refunds first, because another refund may have replaced one.
            for fact in sorted(batch, key=lambda fact: not isinstance(fact.outcome, RefundFailed)):
                refunded.add(fact.gateway_id)
                payment = records.get(fact.payment_gateway_id or "")
                if payment:  # otherwise it belongs to a foreign payment, or to one reported above
                    yield from self._compare_refund(payment, fact)
        for payment in self._books.ledger.refunded_since(self._since):
            for refund in payment.refunds:
                recent = refund.processed_at and refund.processed_at >= self._since
                known = (refund.gateway_id or "") in refunded
                if refund.status == RefundStatus.COMPLETED and recent and not known:
                    yield from self._compare_unlisted(payment, refund)

    def _compare_unlisted(self, payment: Payment, refund: Refund) -> Iterator[Difference]:
        """Compare a completed refund that the gateway did not list: it may have been created long before."""
        fact = self._gateway.find_refund(refund.gateway_id) if refund.gateway_id else None
        if fact:
            yield from self._compare_refund(payment, fact)
        else:
            detail = f"{refund.amount} of {payment.id}, no refund {refund.gateway_id}"
            yield Difference("refund record without refund", refund.id, detail)

    def _compare_refund(self, payment: Payment, fact: GatewayRefund) -> Iterator[Difference]:
        record = payment.refund(fact.refund_id or "") or payment.refund_by_gateway_id(fact.gateway_id)
        detail = f"{fact.gateway_id}: {fact.amount} {fact.currency} of {payment.id}"
        subject = record.id if record else fact.refund_id or fact.gateway_id
        charges = isinstance(fact.outcome, Refunded)
        failed = isinstance(fact.outcome, RefundFailed)
        if record is None:
            if charges:
                yield Difference("refund without record", subject, detail, self._refund_repair(payment, fact))
        elif record.amount != fact.amount:
            yield Difference("refund amount differs", subject, f"{detail}, recorded {record.amount}")
        elif record.status == RefundStatus.COMPLETED and failed:
            kind = "refund failed, recorded as completed"
            yield Difference(kind, subject, detail, self._refund_repair(payment, fact))
        elif record.status != RefundStatus.COMPLETED and charges:
            kind = f"refunded, recorded as {record.status}"
            yield Difference(kind, subject, detail, self._refund_repair(payment, fact))
        elif record.status == RefundStatus.PENDING and failed:
            kind = "refund failed, recorded as pending"
            yield Difference(kind, subject, detail, self._refund_repair(payment, fact))

    def _compare_disputes(self) -> Iterator[Difference]:
        listed_at = utcnow()
        for batch in _batches(self._gateway.disputes(self._since - _CLOCK_SKEW)):
            charges = [fact.payment_gateway_id for fact in batch if fact.payment_gateway_id]
            records = self._books.ledger.find_all_by_gateway_id(charges)
            for fact in batch:
                payment = records.get(fact.payment_gateway_id or "")
                if payment is None:
                    continue
                known = next((one for one in payment.disputes if one.id == fact.gateway_id), None)
                if known is None or known.status != fact.status:
                    recorded = f"recorded as {known.status}" if known else "not recorded"
                    detail = f"{fact.amount} {fact.currency} of {payment.id}: {fact.status}, {recorded}"
                    repair = Repair(
                        f"record as {fact.status}", partial(self._note_dispute, payment, fact, listed_at)
                    )
                    yield Difference("dispute differs", fact.gateway_id, detail, repair)

    def _recreation(self, fact: GatewayPayment) -> Repair | None:
        if not (fact.booking_id and fact.user_id):
            return None
        return Repair("record as completed", partial(self._recreate, fact))

    def _recreate(self, fact: GatewayPayment) -> tuple[str, bool]:
        record = Payment(
            id=fact.transaction_id or "",
            status=PaymentStatus.COMPLETED,
            booking_id=fact.booking_id or "",
            user_id=fact.user_id or "",
            amount=fact.amount,
            currency=fact.currency,
            payment_method="stripe",
            gateway_id=fact.gateway_id,
            created_at=fact.created_at,
            processed_at=fact.created_at,
            history=(
                Step(utcnow(), PaymentStatus.COMPLETED, Actor.OPERATOR, fact.gateway_id, note="recreated"),
            ),
        )
        try:
            self._books.open(record)
        except DuplicateTransaction:
            return "not recorded: the booking has another payment", False
        return "recorded as completed; no event was sent", True

    def _undoing(self, record: Payment, fact: GatewayPayment) -> Repair:
        money = (fact.amount, fact.currency)
        return Repair(f"refund {fact.amount} {fact.currency}", partial(self._undo, record, fact), money)

    def _undo(self, record: Payment, fact: GatewayPayment) -> tuple[str, bool]:
        payment = self._payments.refunds.undo_charge(record, fact.gateway_id, Actor.OPERATOR, automatic=True)
        refund = payment.refunds[-1]
        return f"refunded as {refund.id}, {refund.status}", refund.status != RefundStatus.FAILED

    def _refund_repair(self, payment: Payment, fact: GatewayRefund) -> Repair:
        target = "failed" if isinstance(fact.outcome, RefundFailed) else "completed"
        return Repair(f"record as {target}", partial(self._record_refund, payment, fact, target))

    def _record_refund(self, payment: Payment, fact: GatewayRefund, target: str) -> tuple[str, bool]:
        # An earlier repair may have changed the same payment.
        newest = self._books.get(payment.id)
        if self._payments.refunds.record_fact(newest, fact, Actor.OPERATOR) is newest:
            return f"not recorded: the payment is {newest.status}", False
        return f"recorded as {target}", True

    def _note_dispute(self, payment: Payment, fact: GatewayDispute, listed_at: datetime) -> tuple[str, bool]:
        # A webhook may have recorded a newer state since the listing.
        newest, now = self._books.get(payment.id), utcnow()
        dispute = Dispute(
            fact.gateway_id, fact.status, listed_at, fact.reason, fact.amount, fact.evidence_due_by
        )
        payment = self._books.change(newest, lambda stored: changes.dispute_noted(stored, dispute, now))
        status = next(one.status for one in payment.disputes if one.id == dispute.id)
        if status != fact.status:
            return f"the dispute is already recorded as {status}, which is newer", True
        return f"recorded as {status}", True


def _is_being_refunded(record: Payment) -> bool:
    """Return whether the charge of an unpaid record is already being refunded."""
    return bool(record.refund_reserved)


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH_SIZE)):
        yield batch
