"""Giving money back: an amount is reserved by one conditional write, then asked for, then settled.

No lock is held while the gateway works. What is reserved stays so until the gateway gives a definite answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.clock import utcnow
from app.errors import InvalidAmount, RefundNotAllowed, ServiceUnavailable
from app.events.outgoing import payment_refund
from app.gateway import (
    KEY_LIFETIME,
    GatewayUnavailable,
    Refunded,
    RefundFailed,
    RefundOutcome,
    RefundRequest,
    Refused,
    Unknown,
)
from app.ids import new_id
from app.models import Refund, Transaction, storage_errors
from app.money import canonical_amount
from app.payments import ledger, states
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.gateway import Gateway, GatewayRefund

log = get_logger(__name__)

#: Refunds of one payment; they live in its document.
_MOST = 100

#: Reasons of refunds that nobody asked for here.
_ELSEWHERE = "Refunded by our payment provider"
_STRAY = "The payment had failed, and was charged all the same"


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
        announce: called with the booking's id once an event is stored.
        recover_in: after how long a refund without an answer is asked after.
    """

    def __init__(self, gateway: Gateway, announce: Callable[[str], None], recover_in: timedelta) -> None:
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
            GatewayError: the gateway is too slow to be asked; nothing was tried.
            ServiceUnavailable: not recorded, so nothing was tried.
        """
        payment = ledger.get(order.original_transaction_id)
        amount = _allowed_amount(payment, order)
        with self._gateway.admitted():
            refund = self._reserve(payment, refund_id, amount, order.reason)
            outcome = self._gateway.refund(_request_of(payment, refund))
        self.settle(payment, refund, outcome, actor="api")
        return payment, refund

    def ask_again(self, payment: Transaction, *, actor: str) -> None:
        """Ask the gateway what became of the pending refunds of `payment`, and record it."""
        for refund in payment.refunds:
            if refund.status != states.PENDING:
                continue
            if utcnow() - refund.created_at < KEY_LIFETIME:
                outcome = self._gateway.refund(_request_of(payment, refund))
                if isinstance(outcome, Refused) and outcome.transient:
                    # Says nothing of the earlier request, which may have been carried out.
                    outcome = Unknown(outcome.reason)
            else:
                outcome = self._find(payment, refund)
            self.settle(payment, refund, outcome, actor=actor)

    def _find(self, payment: Transaction, refund: Refund) -> RefundOutcome:
        """Look for a refund whose idempotency key the gateway may have forgotten."""
        try:
            for made in self._gateway.refunds(payment=payment.gateway_id):
                if made.refund_id == refund.id:
                    return made.outcome
        except GatewayUnavailable as error:
            return Unknown(error.message)
        return Refused("it never reached the gateway")

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
                push__history=ledger.step("refund_pending", "api", note=refund_id),
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
            elif isinstance(outcome, Refused | RefundFailed):
                _release(payment, refund, outcome.reason, actor)
            else:
                _warn("refund outcome unknown", payment, refund, outcome.reason, actor)
        except ServiceUnavailable as error:
            refund.status = states.PENDING
            _warn("refund outcome not recorded", payment, refund, str(error), actor)

    def take_back(self, payment: Transaction, gateway_id: str, reason: str, *, actor: str) -> None:
        """Record that a refund which had succeeded failed after all: its amount is the payment's again."""
        refund = next((refund for refund in payment.refunds if refund.gateway_id == gateway_id), None)
        if refund is None or refund.status != states.COMPLETED:
            self.ask_again(payment, actor=actor)
            return
        left: Decimal = payment.amount_refunded - refund.amount
        target = states.PARTIALLY_REFUNDED if left else states.COMPLETED
        update = {
            "set__refunds__S__status": states.FAILED,
            "set__refunds__S__error_message": reason,
            "set__status": target,
            "set__amount_refunded": left,
            "dec__refund_reserved": refund.amount,
            "push__history": ledger.step(target, actor, gateway_id=gateway_id, note=refund.id),
        }
        with storage_errors():
            if not Transaction.objects(open_booking=payment.booking_id).count():
                update["set__open_booking"] = payment.booking_id
            try:
                stored = Transaction.objects(
                    id=payment.id,
                    amount_refunded=payment.amount_refunded,
                    refunds__match={"id": refund.id, "status": states.COMPLETED},
                ).update_one(**update)
            except NotUniqueError:
                stored = False  # somebody has just begun to pay for the booking anew
        if not stored:
            # Somebody else wrote just now: the state to start from has to be read again.
            self.take_back(ledger.get(payment.id), gateway_id, reason, actor=actor)
            return
        metrics.REFUNDS.labels("taken_back").inc()
        log.error(
            "refund failed after it had succeeded",
            transaction_id=payment.id,
            refund_transaction_id=refund.id,
            booking_id=payment.booking_id,
            reason=reason,
        )

    def adopt(self, payment: Transaction, *, actor: str) -> int:
        """Record refunds of `payment` that were made elsewhere, as in Stripe's dashboard.

        Returns:
            How many were new.

        Raises:
            GatewayError: the gateway did not list them.
        """
        made = list(self._gateway.refunds(payment=payment.gateway_id))
        return sum(self.adopt_one(payment.id, refund, actor=actor) for refund in made)

    def failure_of(self, gateway_id: str) -> str | None:
        """Why a refund failed, None if it did not; for the webhook about it."""
        made = self._gateway.find_refund(gateway_id)
        return made.outcome.reason if made and isinstance(made.outcome, RefundFailed) else None

    def adopt_one(self, payment_id: str, made: GatewayRefund, *, actor: str) -> bool:
        """Record a refund that was made elsewhere; False if it is known, or no money is on its way."""
        if not isinstance(made.outcome, Refunded):
            return False
        while True:
            # Read after the refund was seen: ours are recorded before the gateway is asked.
            payment = ledger.get(payment_id)
            if any(
                made.gateway_id == known.gateway_id or made.refund_id == known.id for known in payment.refunds
            ):
                return False
            now = utcnow()
            refund = Refund(
                id=made.refund_id or new_id("REF-"),
                status=states.COMPLETED,
                amount=made.amount,
                reason=_ELSEWHERE,
                gateway_id=made.gateway_id,
                created_at=now,
                processed_at=now,
            )
            update = _completion(payment, refund, now, actor)
            with storage_errors():
                stored = Transaction.objects(
                    id=payment.id,
                    amount_refunded=payment.amount_refunded,
                    refunds__gateway_id__ne=made.gateway_id,
                ).update_one(push__refunds=refund, inc__refund_reserved=refund.amount, **update)
            if stored:
                _count(payment, refund)
                log.warning(
                    "refund made elsewhere", transaction_id=payment.id, refund_transaction_id=refund.id
                )
                self._announce(payment.booking_id)
                return True

    def undo_charge(self, payment: Transaction, gateway_id: str, *, actor: str) -> Refund | None:
        """Give back what was charged for a payment that had failed as far as anybody was told.

        Returns:
            The refund as recorded; None if somebody else has begun one.
        """
        now = utcnow()
        refund = Refund(
            id=new_id("REF-"), status=states.PENDING, amount=payment.amount, reason=_STRAY, created_at=now
        )
        with storage_errors():
            mine = Transaction.objects(id=payment.id, status=states.FAILED, refund_reserved=Decimal(0))
            if not mine.update_one(
                set__gateway_id=gateway_id,
                set__refund_reserved=payment.amount,
                push__refunds=refund,
                push__history=ledger.step("refund_pending", actor, gateway_id=gateway_id, note=refund.id),
                set__recover_after=now + self._recover_in,
            ):
                return None
        payment.gateway_id = gateway_id
        self.settle(payment, refund, self._gateway.refund(_request_of(payment, refund)), actor=actor)
        return refund

    def _complete(self, payment_id: str, refund: Refund, gateway_id: str, actor: str) -> None:
        refund.gateway_id = gateway_id
        while True:
            # Refunds that end at the same time take turns: the payment's state follows from the sum.
            payment = ledger.get(payment_id)
            now = utcnow()
            update = _completion(payment, refund, now, actor)
            with storage_errors():
                done = _pending(payment_id, refund.id).filter(amount_refunded=payment.amount_refunded)
                if done.update_one(
                    set__refunds__S__status=states.COMPLETED,
                    set__refunds__S__gateway_id=gateway_id,
                    set__refunds__S__processed_at=now,
                    **update,
                ):
                    break
                if not _pending(payment_id, refund.id).count():
                    return  # somebody else recorded it
        refund.status, refund.processed_at = states.COMPLETED, now
        _count(payment, refund)
        _tell(payment, refund, actor)
        self._announce(payment.booking_id)


def _request_of(payment: Transaction, refund: Refund) -> RefundRequest:
    return RefundRequest(refund.id, payment.gateway_id, refund.amount, payment.currency)


def _completion(payment: Transaction, refund: Refund, now: datetime, actor: str) -> dict[str, Any]:
    """What else changes with a completed refund: the payment's state, its history, and the event."""
    total = payment.amount_refunded + refund.amount
    target = states.REFUNDED if total >= payment.amount else states.PARTIALLY_REFUNDED
    ledger.check_move(payment, target)
    event = payment_refund(payment, refund, now)
    step = ledger.step(target, actor, gateway_id=refund.gateway_id, event_id=event.event_id, note=refund.id)
    update = {
        "set__status": target,
        "set__amount_refunded": total,
        "push__history": step,
        "push__outbox": event,
        "min__outbox_since": now,
    }
    if target not in states.OPEN:
        update["unset__open_booking"] = True
    return update


def _count(payment: Transaction, refund: Refund) -> None:
    metrics.REFUNDS.labels(states.COMPLETED).inc()
    metrics.REFUNDED.labels(payment.currency).inc(float(refund.amount))


def _pending(payment_id: str, refund_id: str) -> Any:
    return Transaction.objects(id=payment_id, refunds__match={"id": refund_id, "status": states.PENDING})


def _tell(payment: Transaction, refund: Refund, actor: str) -> None:
    """The one line for a refund: by whoever has recorded how it ended."""
    tell = log.info if refund.status == states.COMPLETED else log.warning
    tell(
        "refund",
        transaction_id=payment.id,
        refund_transaction_id=refund.id,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        amount=str(refund.amount),
        currency=payment.currency,
        status=refund.status,
        reason=refund.error_message,
        actor=actor,
    )


def _warn(message: str, payment: Transaction, refund: Refund, reason: str, actor: str) -> None:
    log.warning(
        message,
        transaction_id=payment.id,
        refund_transaction_id=refund.id,
        booking_id=payment.booking_id,
        reason=reason,
        actor=actor,
    )


def _release(payment: Transaction, refund: Refund, reason: str, actor: str) -> None:
    now = utcnow()
    with storage_errors():
        released = _pending(payment.id, refund.id).update_one(
            set__refunds__S__status=states.FAILED,
            set__refunds__S__error_message=reason,
            set__refunds__S__processed_at=now,
            dec__refund_reserved=refund.amount,
            push__history=ledger.step("refund_failed", actor, note=refund.id),
        )
    refund.status, refund.processed_at, refund.error_message = states.FAILED, now, reason
    if released:
        metrics.REFUNDS.labels(states.FAILED).inc()
        _tell(payment, refund, actor)


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
        return canonical_amount(amount, payment.currency)
    except InvalidAmount as error:
        raise InvalidAmount(error.message, field="refund_amount") from None
