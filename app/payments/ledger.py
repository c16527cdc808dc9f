"""The only place that writes payments: the insert that claims a booking, and compare-and-set moves."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.clock import seconds, utcnow
from app.errors import DuplicateTransaction, TransactionNotFound
from app.events.outgoing import payment_event
from app.models import Move, Transaction, storage_errors
from app.payments import states
from app.telemetry import metrics
from app.telemetry.context import current_request_id

if TYPE_CHECKING:
    from app.payments.orders import PaymentOrder


#: Field → the states in which it is kept.
_WHILE = {"open_booking": states.OPEN, "recover_after": states.UNSETTLED}


class IllegalMove(Exception):
    """The stored state of a transaction does not allow a move."""

    def __init__(self, transaction_id: str, target: str) -> None:
        super().__init__(f"{transaction_id} can't become {target}")


def open_payment(
    order: PaymentOrder, transaction_id: str, method: str | None, *, actor: str, recover_in: timedelta
) -> Transaction:
    """Record a payment as pending and claim its booking, in one write.

    Args:
        order: in canonical form, its currency known.
        transaction_id: the id to give it.
        method: the PaymentMethod that pays, None for PayPal.
        actor: who opens it.
        recover_in: after how long a payment that is still open is asked after.

    Raises:
        DuplicateTransaction: another payment of the booking is open or completed; names it.
        ServiceUnavailable: not recorded.
    """
    now = utcnow()
    payment = Transaction(
        id=transaction_id,
        status=states.PENDING,
        booking_id=order.booking_id,
        open_booking=order.booking_id,
        user_id=order.user_id,
        amount=order.amount,
        currency=order.currency,
        payment_method=order.payment_method,
        gateway_method=method,
        return_url=order.return_url,
        recover_after=now + recover_in,
        contact=dict(order.contact),
        metadata=dict(order.metadata),
        created_at=now,
        history=[step(states.PENDING, actor)],
    )
    with storage_errors():
        try:
            payment.insert()
        except NotUniqueError:
            first = Transaction.objects(open_booking=order.booking_id).only("id").first()
            # None: it was closed between the two reads; the caller may try again.
            details = {"transaction_id": first.id} if first else {}
            raise DuplicateTransaction(
                "This booking already has a payment.", booking_id=order.booking_id, **details
            ) from None
    return payment


def check_move(payment: Transaction, target: str) -> None:
    """Raise IllegalMove unless `target` may follow the payment's state."""
    if target not in states.MOVES[payment.status]:
        raise IllegalMove(payment.id, target)


def step(status: str, actor: str, **fields: str | None) -> Move:
    """An entry of the audit trail, of this moment and, inside a request, of that request."""
    return Move(at=utcnow(), status=status, actor=actor, request_id=current_request_id(), **fields)


def move(payment: Transaction, target: str, *, actor: str, **fields: Any) -> None:
    """Move `payment` to the state `target`, with `fields`, history and event in the same write.

    Not through MongoEngine's `update_one`: to translate its words to these operators takes as long again.

    The object in memory takes the new values first; after IllegalMove it must be read again.

    Raises:
        IllegalMove: no legal move, or the stored state is another by now: somebody was faster.
        ServiceUnavailable: MongoDB did not answer.
    """
    before = payment.status
    check_move(payment, target)
    now = utcnow()
    changes: dict[str, Any] = {**fields, "status": target}
    if target in states.FINAL:
        changes["processed_at"] = now
    for name, value in changes.items():
        setattr(payment, name, value)
    event = payment_event(states.EMITS[target], payment, now) if target in states.EMITS else None

    event_id = event.event_id if event else None
    entry = step(target, actor, gateway_id=payment.gateway_id, event_id=event_id)
    update: dict[str, Any] = {"$set": changes, "$push": {"history": entry.to_mongo()}}
    if closed := [field for field, kept in _WHILE.items() if target not in kept]:
        update["$unset"] = dict.fromkeys(closed, True)
    if event:
        update["$push"]["outbox"] = event.to_mongo()
        update["$min"] = {"outbox_since": now}
    with storage_errors():
        stored = Transaction.compare_and_set({"_id": payment.id, "status": before}, update)
    if not stored:
        raise IllegalMove(payment.id, target)
    _count(payment, now)


def _count(payment: Transaction, now: datetime) -> None:
    metrics.PAYMENTS.labels(payment.status, payment.payment_method, payment.error_code or "").inc()
    if payment.status in states.FINAL:
        metrics.PAYMENT_SECONDS.labels(payment.status).observe(seconds(payment.created_at, now))
    if payment.status == states.COMPLETED:
        metrics.REVENUE.labels(payment.currency).inc(float(payment.amount))


def get_by_refund(refund_id: str) -> Transaction:
    """The payment that the refund with that id belongs to.

    Raises:
        TransactionNotFound: there is no such refund.
        ServiceUnavailable: MongoDB did not answer.
    """
    return _one(refund_id, {"refunds.id": refund_id})


def search(
    limit: int,
    *,
    status: str | None = None,
    booking_id: str | None = None,
    user_id: str | None = None,
    since: datetime | None = None,
) -> list[Transaction]:
    """Payments that meet every condition given, newest first.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    conditions = {"status": status, "booking_id": booking_id, "user_id": user_id, "created_at__gte": since}
    given = {name: value for name, value in conditions.items() if value is not None}
    with storage_errors():
        return list(Transaction.objects(**given).order_by("-created_at").limit(limit))


def get(transaction_id: str) -> Transaction:
    """The transaction with that id.

    Raises:
        TransactionNotFound: there is none.
        ServiceUnavailable: MongoDB did not answer.
    """
    return _one(transaction_id, {"_id": transaction_id})


def _one(asked_for: str, expected: dict[str, Any]) -> Transaction:
    with storage_errors():
        payment = Transaction.find_one(expected)
    if payment is None:
        raise TransactionNotFound("No transaction has this id.", transaction_id=asked_for)
    return payment
