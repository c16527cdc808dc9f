"""Giving money back: an amount is reserved by one conditional write, then asked for, then settled.

No lock is held while the gateway works. What is reserved stays so until the gateway gives a definite answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.clock import utcnow
from app.errors import InvalidAmount, RefundNotAllowed, ServiceUnavailable
from app.events.outgoing import payment_refund
from app.gateway import KEY_REMEMBERED, Refunded, RefundOutcome, Refused
from app.models import Move, Refund, Transaction, storage_errors
from app.money import from_minor, to_minor
from app.payments import ledger, states
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.gateway import StripeGateway
    from app.models import OutboxEntry

log = get_logger(__name__)

#: Refunds of one payment; they live in its document.
_MOST = 100


@dataclass(frozen=True)
class RefundOrder:
    """A refund to make. `amount` is in major units; None means what is left."""

    original_transaction_id: str
    booking_id: str
    user_id: str
    reason: str
    amount: Decimal | None = None


class Refunds:
    """Makes refunds and finds out what became of them.

    Args:
        gateway: gives the money back.
        announce: called with a payment's id and its new outbox entry, once both are stored.
        recover_in: after how long a refund without an answer is asked after.
    """

    def __init__(
        self, gateway: StripeGateway, announce: Callable[[str, OutboxEntry], None], recover_in: timedelta
    ) -> None:
        self._gateway = gateway
        self._announce = announce
        self._recover_in = recover_in

    def refund(self, order: RefundOrder, refund_id: str) -> tuple[Transaction, Refund]:
        """Give money back.

        Returns:
            The payment and the refund as recorded: completed, failed, or pending when the answer never came.

        Raises:
            TransactionNotFound: no such payment.
            RefundNotAllowed: not completed, another booking or user, or more than is left.
            InvalidAmount: not an amount of that currency.
            ServiceUnavailable: not recorded, so nothing was tried.
        """
        payment = ledger.get(order.original_transaction_id)
        amount = _allowed_amount(payment, order)
        refund = self._reserve(payment, refund_id, amount, order.reason)
        outcome = self._gateway.refund(refund.id, payment.gateway_id, to_minor(amount, payment.currency))
        self.settle(payment, refund, outcome, actor="api")
        log.info(
            "refund processed",
            transaction_id=payment.id,
            refund_transaction_id=refund.id,
            booking_id=payment.booking_id,
            user_id=payment.user_id,
            amount=str(amount),
            currency=payment.currency,
            status=refund.status,
        )
        return payment, refund

    def ask_again(self, payment: Transaction, *, actor: str) -> None:
        """Ask the gateway what became of the pending refunds of `payment`, and record it."""
        for refund in payment.refunds:
            if refund.status != states.PENDING:
                continue
            if utcnow() - refund.created_at < KEY_REMEMBERED:
                minor = to_minor(refund.amount, payment.currency)
                outcome = self._gateway.refund(refund.id, payment.gateway_id, minor, asked_before=True)
            else:
                outcome = self._gateway.find_refund(refund.id, payment.gateway_id)
            self.settle(payment, refund, outcome, actor=actor)

    def _reserve(self, payment: Transaction, refund_id: str, amount: Decimal, reason: str) -> Refund:
        now = utcnow()
        refund = Refund(id=refund_id, status=states.PENDING, amount=amount, reason=reason, created_at=now)
        with storage_errors():
            reserved = Transaction.objects(
                id=payment.id,
                status__in=states.REFUNDABLE,
                refund_reserved__lte=payment.amount - amount,
            ).update_one(
                inc__refund_reserved=amount,
                push__refunds=refund,
                push__history=Move(at=now, status="refund_pending", actor="api", note=refund_id),
                set__recover_after=now + self._recover_in,
            )
        if not reserved:
            raise RefundNotAllowed("That is more than is left of this payment.", transaction_id=payment.id)
        return refund

    def settle(self, payment: Transaction, refund: Refund, outcome: RefundOutcome, *, actor: str) -> None:
        """Record a definite yes or no, once; anything else leaves the refund pending."""
        try:
            if isinstance(outcome, Refunded):
                self._complete(payment.id, refund, outcome.gateway_id, actor)
            elif isinstance(outcome, Refused):
                _release(payment.id, refund, outcome.reason, actor)
            else:
                log.warning("refund outcome unknown", refund_transaction_id=refund.id, reason=outcome.reason)
        except ServiceUnavailable as error:
            refund.status = states.PENDING
            log.warning("refund outcome not recorded", refund_transaction_id=refund.id, reason=str(error))

    def take_back(self, payment: Transaction, gateway_id: str, reason: str, *, actor: str) -> None:
        """Record that a refund which had succeeded failed after all: its amount is the payment's again."""
        refund = next((refund for refund in payment.refunds if refund.gateway_id == gateway_id), None)
        if refund is None or refund.status != states.COMPLETED:
            self.ask_again(payment, actor=actor)
            return
        now = utcnow()
        left: Decimal = payment.amount_refunded - refund.amount
        target = states.PARTIALLY_REFUNDED if left else states.COMPLETED
        update = {
            "set__refunds__S__status": states.FAILED,
            "set__refunds__S__error_message": reason,
            "set__status": target,
            "set__amount_refunded": left,
            "dec__refund_reserved": refund.amount,
            "push__history": Move(at=now, status=target, actor=actor, gateway_id=gateway_id, note=refund.id),
        }
        with storage_errors():
            if _booking_is_free(payment):
                update["set__open_booking"] = payment.booking_id
            stored = Transaction.objects(
                id=payment.id,
                amount_refunded=payment.amount_refunded,
                refunds__match={"id": refund.id, "status": states.COMPLETED},
            ).update_one(**update)
        if not stored:
            # Somebody else wrote this payment just now: the state to start from has to be read again.
            self.take_back(ledger.get(payment.id), gateway_id, reason, actor=actor)
            return
        log.error("refund failed after it had succeeded", refund_transaction_id=refund.id, reason=reason)

    def _complete(self, payment_id: str, refund: Refund, gateway_id: str, actor: str) -> None:
        now = utcnow()
        while True:
            # Refunds that end at the same time take turns: the payment's state follows from the sum.
            payment = ledger.get(payment_id)
            total = payment.amount_refunded + refund.amount
            target = states.REFUNDED if total == payment.amount else states.PARTIALLY_REFUNDED
            event = payment_refund(payment, refund, now)
            update = {
                "set__refunds__S__status": states.COMPLETED,
                "set__refunds__S__gateway_id": gateway_id,
                "set__refunds__S__processed_at": now,
                "set__status": target,
                "set__amount_refunded": total,
                "push__history": Move(
                    at=now, status=target, actor=actor, gateway_id=gateway_id, note=refund.id
                ),
                "push__outbox": event,
                "min__outbox_since": now,
            }
            if target not in states.OPEN:
                update["unset__open_booking"] = True
            with storage_errors():
                done = _pending(payment_id, refund.id).filter(amount_refunded=payment.amount_refunded)
                if done.update_one(**update):
                    break
                if not _pending(payment_id, refund.id).count():
                    return  # somebody else recorded it
        refund.status, refund.processed_at, refund.gateway_id = states.COMPLETED, now, gateway_id
        self._announce(payment_id, event)


def _booking_is_free(payment: Transaction) -> bool:
    return not Transaction.objects(open_booking=payment.booking_id).count()


def _pending(payment_id: str, refund_id: str) -> Any:
    return Transaction.objects(id=payment_id, refunds__match={"id": refund_id, "status": states.PENDING})


def _release(payment_id: str, refund: Refund, reason: str, actor: str) -> None:
    now = utcnow()
    with storage_errors():
        _pending(payment_id, refund.id).update_one(
            set__refunds__S__status=states.FAILED,
            set__refunds__S__error_message=reason,
            set__refunds__S__processed_at=now,
            dec__refund_reserved=refund.amount,
            push__history=Move(at=now, status="refund_failed", actor=actor, note=refund.id),
        )
    refund.status, refund.processed_at, refund.error_message = states.FAILED, now, reason


def _allowed_amount(payment: Transaction, order: RefundOrder) -> Decimal:
    if order.booking_id != payment.booking_id or order.user_id != payment.user_id:
        raise RefundNotAllowed("The payment is of another booking or user.", transaction_id=payment.id)
    if payment.status not in states.REFUNDABLE:
        raise RefundNotAllowed(f"The payment is {payment.status}.", transaction_id=payment.id)
    if len(payment.refunds) >= _MOST:
        raise RefundNotAllowed("This payment has been refunded too many times.", transaction_id=payment.id)
    left: Decimal = payment.amount - payment.refund_reserved
    amount = left if order.amount is None else order.amount
    if amount > left or left == 0:
        raise RefundNotAllowed(f"Only {left} {payment.currency} are left to refund.", left=float(left))
    try:
        return from_minor(to_minor(amount, payment.currency), payment.currency)
    except InvalidAmount as error:
        raise InvalidAmount(error.message, field="refund_amount") from None
