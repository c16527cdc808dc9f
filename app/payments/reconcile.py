"""Our books against the gateway's, both ways: charges and refunds, amounts and currencies.

Nothing here is needed in daily life: recovery and webhooks finish what is open. This finds what neither can:
a database restored from a backup, refunds made in Stripe's dashboard, mistakes of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.clock import utcnow
from app.gateway import Charged, GatewayPayment, GatewayRefund, Refunded, RefundFailed
from app.models import Transaction, storage_errors
from app.payments import ledger, states

if TYPE_CHECKING:
    from app.gateway import Gateway
    from app.models import Refund
    from app.payments.service import Payments

_ACTOR = "operator"

#: Records compared at a time.
_BATCH = 200

#: Payments younger than this may still be on their way.
_SETTLING = timedelta(minutes=5)

#: Clocks may differ by so much.
_SKEW = timedelta(minutes=10)

#: States in which the gateway must have charged.
_PAID = frozenset({states.COMPLETED, states.PARTIALLY_REFUNDED, states.REFUNDED})


@dataclass(frozen=True)
class Difference:
    """Something that the two books do not agree on.

    Attributes:
        kind: what is wrong, in words that stay the same for programs.
        subject: the transaction, the refund or, without either, the gateway's id.
        detail: what each side says.
        repaired: what was done about it, None if nothing was.
    """

    kind: str
    subject: str
    detail: str
    repaired: str | None = None


class Reconciliation:
    """Compares what was paid since a moment.

    Args:
        payments: the payment side, to repair with.
        gateway: to read the other books from.
        since: payments and refunds made since then.
        repair: whether to mend what can be mended; every repair is in the audit trail.
    """

    def __init__(
        self, payments: Payments, gateway: Gateway, since: datetime, *, repair: bool = False
    ) -> None:
        self._payments = payments
        self._gateway = gateway
        self._since = since
        self._repair = repair
        #: Transaction ids that the gateway charged.
        self._charged: set[str] = set()

    def settle_overdue(self) -> int:
        """Finish what has been open for too long, as the worker's sweep does; how many were finished."""
        finished = 0
        overdue = Transaction.objects(
            recover_after__lt=utcnow(), status__in=states.UNSETTLED, created_at__gte=self._since
        )
        with storage_errors():
            for payment in overdue:
                before = payment.status
                finished += self._payments.settle(payment, actor=_ACTOR).payment.status != before
        return finished

    def differences(self) -> Iterator[Difference]:
        """Every difference, as it is found.

        Raises:
            GatewayError: the gateway did not show its books.
            ServiceUnavailable: MongoDB did not answer.
        """
        yield from self._charges()
        yield from self._records()
        yield from self._refunds()

    def _charges(self) -> Iterator[Difference]:
        """From the gateway's charges to our records."""
        made = self._gateway.payments(self._since - _SKEW)
        for batch in _batches(payment for payment in made if isinstance(payment.outcome, Charged)):
            with storage_errors():
                found = Transaction.objects(id__in=[made.transaction_id for made in batch])
                records = {payment.id: payment for payment in found}
            for made in batch:
                yield from self._compare(made, records.get(made.transaction_id or ""))

    def _compare(self, made: GatewayPayment, record: Transaction | None) -> Iterator[Difference]:
        transaction_id = made.transaction_id or ""
        said = f"{made.gateway_id}: {made.amount} {made.currency}"
        if transaction_id in self._charged:
            yield Difference("charged twice", transaction_id, said)
            return
        self._charged.add(transaction_id)
        if record is None:
            yield Difference("charge without record", transaction_id, said, self._recreate(made))
        elif (record.amount, record.currency) != (made.amount, made.currency):
            detail = f"{said}, recorded {record.amount} {record.currency}"
            yield Difference("amount differs", transaction_id, detail)
        elif record.status == states.FAILED:
            yield Difference("charged, recorded as failed", transaction_id, said, self._undo(record, made))

    def _records(self) -> Iterator[Difference]:
        """From our records to the gateway's charges."""
        paid = Transaction.objects(
            status__in=_PAID, created_at__gte=self._since, created_at__lt=utcnow() - _SETTLING
        )
        with storage_errors():
            for payment in paid.only("id", "status", "gateway_id"):
                if payment.id not in self._charged:
                    detail = f"recorded as {payment.status}, not charged as {payment.gateway_id}"
                    yield Difference("record without charge", payment.id, detail)

    def _refunds(self) -> Iterator[Difference]:
        """Refunds, both ways."""
        seen: set[str] = set()
        for batch in _batches(self._gateway.refunds(since=self._since - _SKEW)):
            with storage_errors():
                found = Transaction.objects(gateway_id__in=[made.payment_gateway_id for made in batch])
                records = {payment.gateway_id: payment for payment in found}
            for made in batch:
                seen.add(made.gateway_id)
                payment = records.get(made.payment_gateway_id)
                if payment:  # else it is of a payment that is not ours, or told above
                    yield from self._compare_refund(payment, made)
        ours = Transaction.objects(refunds__id__gt="", refunds__processed_at__gte=self._since)
        with storage_errors():
            for payment in ours.only("id", "refunds"):
                for refund in payment.refunds:
                    late = refund.processed_at and refund.processed_at >= self._since
                    if refund.status == states.COMPLETED and late and refund.gateway_id not in seen:
                        detail = f"{refund.amount} of {payment.id}, no refund {refund.gateway_id}"
                        yield Difference("refund record without refund", refund.id, detail)

    def _compare_refund(self, payment: Transaction, made: GatewayRefund) -> Iterator[Difference]:
        record = _refund_record(payment, made)
        said = f"{made.gateway_id}: {made.amount} {made.currency} of {payment.id}"
        subject = record.id if record else made.refund_id or made.gateway_id
        if record is None:
            if isinstance(made.outcome, Refunded):
                yield Difference("refund without record", subject, said, self._adopt(payment, made))
        elif record.amount != made.amount:
            yield Difference("refund amount differs", subject, f"{said}, recorded {record.amount}")
        elif record.status == states.COMPLETED and isinstance(made.outcome, RefundFailed):
            yield Difference(
                "refund failed, recorded as completed", subject, said, self._take_back(payment, made)
            )
        elif record.status == states.FAILED and isinstance(made.outcome, Refunded):
            yield Difference("refunded, recorded as failed", subject, said)

    def _recreate(self, made: GatewayPayment) -> str | None:
        if not self._repair or not (made.booking_id and made.user_id):
            return None
        record = Transaction(
            id=made.transaction_id,
            status=states.COMPLETED,
            booking_id=made.booking_id,
            open_booking=made.booking_id,
            user_id=made.user_id,
            amount=made.amount,
            currency=made.currency,
            payment_method="stripe",
            gateway_id=made.gateway_id,
            created_at=made.created_at,
            processed_at=made.created_at,
            history=[ledger.step(states.COMPLETED, _ACTOR, gateway_id=made.gateway_id, note="recreated")],
        )
        with storage_errors():
            try:
                record.insert()
            except NotUniqueError:
                return None  # the booking has been paid again meanwhile: for a person to decide
        return "recorded as completed; no event was sent"

    def _undo(self, record: Transaction, made: GatewayPayment) -> str | None:
        if not self._repair:
            return None
        refund = self._payments.refunds.undo_charge(record, made.gateway_id, actor=_ACTOR)
        return refund and f"refunded as {refund.id}, {refund.status}"

    def _adopt(self, payment: Transaction, made: GatewayRefund) -> str | None:
        adopted = self._repair and self._payments.refunds.adopt_one(payment.id, made, actor=_ACTOR)
        return "recorded" if adopted else None

    def _take_back(self, payment: Transaction, made: GatewayRefund) -> str | None:
        if not self._repair:
            return None
        self._payments.refunds.take_back(payment, made.gateway_id, "failed at the gateway", actor=_ACTOR)
        return "recorded as failed"


def _refund_record(payment: Transaction, made: GatewayRefund) -> Refund | None:
    return next(
        (
            known
            for known in payment.refunds
            if known.id == made.refund_id or known.gateway_id == made.gateway_id
        ),
        None,
    )


def _batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    rest = iter(items)
    while batch := list(islice(rest, _BATCH)):
        yield batch
