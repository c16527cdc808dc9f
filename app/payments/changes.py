"""Every change that a payment can undergo, as functions of its record: they decide and do nothing else.

Each takes the record as it is stored and returns what is to be stored instead, events included, or the same
object if there is nothing to change. `Books.change` stores the result, and calls the function once more with
the newer record if somebody else was faster.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.errors import RefundNotAllowed
from app.payments.announcements import dispute_event, payment_event, refund_event
from app.payments.records import Dispute, Payment, Refund, Step, changed
from app.payments.states import (
    MOVES,
    REFUNDABLE,
    UNPAID,
    UNSETTLED,
    Actor,
    PaymentStatus,
    RefundStatus,
)
from app.telemetry.context import current_request_id

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from app.declines import Decline
    from app.payments.orders import PaymentOrder

#: Refunds of one payment; they live in its record.
MAX_REFUNDS = 100


class IllegalMove(Exception):
    """The stored status of a payment does not allow a change."""

    def __init__(self, payment: Payment, target: PaymentStatus) -> None:
        super().__init__(f"{payment.id} is {payment.status} and can't become {target}")


def opened(
    order: PaymentOrder,
    transaction_id: str,
    gateway_method: str | None,
    *,
    actor: Actor,
    now: datetime,
    recover_in: timedelta,
) -> Payment:
    """A new pending payment.

    Args:
        order: in canonical form, its currency known.
        transaction_id: the id to give it.
        gateway_method: the gateway's id of what pays, None where the customer chooses at the gateway.
        actor: who opens it.
        now: the time, UTC.
        recover_in: how long after this attempt its outcome is to be looked up.
    """
    if order.currency is None:
        raise ValueError("the order's currency must be known")
    return Payment(
        id=transaction_id,
        status=PaymentStatus.PENDING,
        booking_id=order.booking_id,
        user_id=order.user_id,
        amount=order.amount,
        currency=order.currency,
        payment_method=order.payment_method,
        gateway_method=gateway_method,
        return_url=order.return_url,
        contact=dict(order.contact),
        metadata=dict(order.metadata),
        created_at=now,
        attempted_at=now,
        recover_after=now + recover_in,
        history=(_step(PaymentStatus.PENDING, actor, now),),
    )


def attempted(payment: Payment, now: datetime, recover_in: timedelta) -> Payment:
    """The same client asks again to charge a payment whose outcome is unknown: a new attempt begins."""
    if payment.status != PaymentStatus.PENDING or payment.gateway_id:
        return payment
    return changed(payment, attempted_at=now, recover_after=now + recover_in)


def looked_up_later(payment: Payment, at: datetime) -> Payment:
    """Nothing new is known: look again at `at`."""
    return changed(payment, recover_after=at)


def nothing_left_to_look_up(payment: Payment) -> Payment:
    """Stop looking up, unless something is open."""
    if payment.recover_after is None or not _all_known(payment):
        return payment
    return changed(payment, recover_after=None)


def _all_known(payment: Payment) -> bool:
    return (
        payment.status not in UNSETTLED
        and payment.stray_charge is None
        and not any(refund.pending for refund in payment.refunds)
    )


def named(payment: Payment, gateway_id: str) -> Payment:
    """The gateway has named its id of the payment."""
    return payment if payment.gateway_id else changed(payment, gateway_id=gateway_id)


def awaiting_customer(payment: Payment, gateway_id: str, *, actor: Actor, now: datetime) -> Payment:
    """The customer has to confirm the payment."""
    if payment.status == PaymentStatus.REQUIRES_ACTION:
        return payment
    return _moved(payment, PaymentStatus.REQUIRES_ACTION, actor, now, gateway_id=gateway_id)


def completed(
    payment: Payment,
    gateway_id: str,
    card_brand: str | None,
    card_last_four: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> Payment:
    """The gateway has charged the payment."""
    if payment.status in REFUNDABLE or payment.status == PaymentStatus.REFUNDED:
        return payment
    paid = changed(payment, card_brand=card_brand, card_last_four=card_last_four)
    return _moved(paid, PaymentStatus.COMPLETED, actor, now, gateway_id=gateway_id)


def failed(
    payment: Payment,
    decline: Decline,
    gateway_id: str | None,
    *,
    actor: Actor,
    now: datetime,
    announced: bool = True,
    note: str | None = None,
) -> Payment:
    """Surely nothing was charged.

    Args:
        payment: as stored.
        decline: why, in our words.
        gateway_id: the gateway's id of the payment, if it has one.
        actor: who found out.
        now: the time, UTC.
        announced: whether the customer gets a mail; not for a request that the caller is to repeat.
        note: the gateway's reason, for operators.
    """
    if payment.status in UNPAID:
        return payment
    unpaid = changed(
        payment,
        error_code=decline.code,
        error_message=decline.message,
        retry_advice=decline.retry,
    )
    return _moved(
        unpaid, PaymentStatus.FAILED, actor, now, gateway_id=gateway_id, announced=announced, note=note
    )


def canceled(
    payment: Payment, gateway_id: str | None, *, actor: Actor, now: datetime, note: str | None
) -> Payment:
    """The payment was called off before anything was charged."""
    if payment.status in UNPAID:
        return payment
    return _moved(payment, PaymentStatus.CANCELED, actor, now, gateway_id=gateway_id, note=note)


def _moved(
    payment: Payment,
    target: PaymentStatus,
    actor: Actor,
    now: datetime,
    *,
    gateway_id: str | None,
    note: str | None = None,
    announced: bool = True,
) -> Payment:
    if target not in MOVES[payment.status]:
        raise IllegalMove(payment, target)
    moved = changed(payment, status=target, gateway_id=gateway_id or payment.gateway_id)
    if target not in UNSETTLED:
        moved = changed(moved, processed_at=now, recover_after=None)
    event = payment_event(moved, now) if announced else None
    step = _step(target, actor, now, moved.gateway_id, event.event_id if event else None, note)
    outbox = (*moved.outbox, event) if event else moved.outbox
    return changed(moved, history=moved.with_step(step), outbox=outbox)


def refund_reserved(
    payment: Payment, refund: Refund, *, actor: Actor, now: datetime, recover_in: timedelta
) -> Payment:
    """Claim the amount of a refund, before the gateway is asked for it.

    Raises:
        RefundNotAllowed: the payment can't be refunded, or less than that is left.
    """
    if payment.refund(refund.id):
        return payment  # another attempt of the same request was faster
    check_refundable(payment)
    if refund.amount > payment.refundable:
        raise RefundNotAllowed("That is more than is left of this payment.", transaction_id=payment.id)
    return _with_new_refund(payment, refund, actor, now, recover_in)


def check_refundable(payment: Payment) -> None:
    """Check that some of the payment can be given back now.

    Raises:
        RefundNotAllowed: it can't; the message says why.
    """
    details = {"transaction_id": payment.id}
    if payment.status not in REFUNDABLE:
        raise RefundNotAllowed(f"The payment is {payment.status}.", **details)
    if any(dispute.holds_money for dispute in payment.disputes):
        message = "The payment is disputed: the cardholder's bank decides about the money."
        raise RefundNotAllowed(message, **details)
    if len(payment.refunds) >= MAX_REFUNDS:
        raise RefundNotAllowed("This payment has been refunded too many times.", **details)


def stray_refund_begun(
    payment: Payment, refund: Refund, *, actor: Actor, now: datetime, recover_in: timedelta
) -> Payment:
    """Claim the refund of what is left of a charge that was made although the payment had ended unpaid.

    One at a time, and no more than `MAX_REFUNDS`: what the gateway refuses as often is left to an operator.
    """
    begun = any(one.pending for one in payment.refunds)
    if payment.stray_charge is None or begun or not payment.refundable:
        return payment
    if len(payment.refunds) >= MAX_REFUNDS:
        return changed(payment, recover_after=None) if payment.recover_after else payment
    rest = _with(refund, amount=payment.refundable)
    return _with_new_refund(payment, rest, actor, now, recover_in)


def _with_new_refund(
    payment: Payment, refund: Refund, actor: Actor, now: datetime, recover_in: timedelta
) -> Payment:
    step = _step("refund_pending", actor, now, payment.stray_charge, note=refund.id)
    return changed(
        payment,
        refunds=(*payment.refunds, refund),
        refund_reserved=payment.refund_reserved + refund.amount,
        recover_after=now + recover_in,
        history=payment.with_step(step),
    )


def refund_named(payment: Payment, refund_id: str, gateway_id: str) -> Payment:
    """The gateway has accepted a refund and named its id; the outcome is still open."""
    refund = payment.refund(refund_id)
    if refund is None or refund.gateway_id:
        return payment
    return changed(payment, refunds=payment.with_refund(_with(refund, gateway_id=gateway_id)))


def refund_completed(
    payment: Payment, refund_id: str, gateway_id: str, *, actor: Actor, now: datetime
) -> Payment:
    """The gateway has given the money back."""
    refund = payment.refund(refund_id)
    if refund is None or refund.status == RefundStatus.COMPLETED:
        return payment
    if refund.status == RefundStatus.FAILED and refund.gateway_id:
        return payment  # as the gateway reported: a failure is final there, and this is known from before it
    reserved = payment.refund_reserved
    if refund.status == RefundStatus.FAILED:  # it had counted as failed, and its amount as free again
        reserved += refund.amount
    done = _with(
        refund,
        status=RefundStatus.COMPLETED,
        gateway_id=gateway_id,
        processed_at=now,
        error_message=None,
    )
    payment = changed(payment, refunds=payment.with_refund(done), refund_reserved=reserved)
    return _given_back(payment, done, actor, now)


def refund_adopted(payment: Payment, refund: Refund, *, actor: Actor, now: datetime) -> Payment:
    """A completed refund that was made elsewhere, for example in the gateway's dashboard."""
    if payment.refund(refund.id) or (refund.gateway_id and payment.refund_by_gateway_id(refund.gateway_id)):
        return payment
    payment = changed(
        payment,
        refunds=(*payment.refunds, refund),
        refund_reserved=payment.refund_reserved + refund.amount,
    )
    return _given_back(payment, refund, actor, now)


def _given_back(payment: Payment, refund: Refund, actor: Actor, now: datetime) -> Payment:
    total = payment.amount_refunded + refund.amount
    whole = total >= payment.amount
    target = PaymentStatus.REFUNDED if whole else PaymentStatus.PARTIALLY_REFUNDED
    if target not in MOVES[payment.status]:
        raise IllegalMove(payment, target)
    event = refund_event(payment, refund, now)
    step = _step(target, actor, now, refund.gateway_id, event.event_id, refund.id)
    return nothing_left_to_look_up(
        changed(
            payment,
            status=target,
            amount_refunded=total,
            stray_charge=None if whole else payment.stray_charge,
            history=payment.with_step(step),
            outbox=(*payment.outbox, event),
        )
    )


def refund_failed(
    payment: Payment,
    refund_id: str,
    reason: str,
    *,
    actor: Actor,
    now: datetime,
    gateway_id: str | None = None,
) -> Payment:
    """A refund did not or will not happen; its amount is the payment's again."""
    refund = payment.refund(refund_id)
    if refund is None or refund.status == RefundStatus.FAILED:
        return payment
    if refund.status == RefundStatus.COMPLETED:
        return _taken_back(payment, refund, reason, actor, now)
    over = _with(
        refund,
        status=RefundStatus.FAILED,
        error_message=reason,
        processed_at=now,
        gateway_id=gateway_id or refund.gateway_id,
    )
    step = _step("refund_failed", actor, now, over.gateway_id, note=refund.id)
    return nothing_left_to_look_up(
        changed(
            payment,
            refunds=payment.with_refund(over),
            refund_reserved=payment.refund_reserved - refund.amount,
            history=payment.with_step(step),
        )
    )


def _taken_back(payment: Payment, refund: Refund, reason: str, actor: Actor, now: datetime) -> Payment:
    """A refund that had succeeded failed after all: the customer's bank sent the money back."""
    left = payment.amount_refunded - refund.amount
    target = PaymentStatus.PARTIALLY_REFUNDED if left else PaymentStatus.COMPLETED
    over = _with(refund, status=RefundStatus.FAILED, error_message=reason)
    return changed(
        payment,
        status=target,
        refunds=payment.with_refund(over),
        refund_reserved=payment.refund_reserved - refund.amount,
        amount_refunded=left,
        history=payment.with_step(_step(target, actor, now, refund.gateway_id, note=refund.id)),
    )


def strayed(
    payment: Payment, gateway_id: str, *, actor: Actor, now: datetime, look_at: datetime | None
) -> Payment:
    """The gateway charged a payment that had ended unpaid.

    Args:
        payment: as stored.
        gateway_id: the gateway's id of the charge.
        actor: who found out.
        now: the time, UTC.
        look_at: when recovery is to see that it was given back; None leaves it to an operator.
    """
    if payment.status not in UNPAID or payment.stray_charge:
        return payment
    return changed(
        payment,
        stray_charge=gateway_id,
        gateway_id=gateway_id,
        recover_after=look_at,
        history=payment.with_step(_step("charged_although_failed", actor, now, gateway_id)),
    )


def dispute_noted(payment: Payment, dispute: Dispute, now: datetime) -> Payment:
    """A dispute was opened or has changed. Facts come in any order: the newest counts, an end is final."""
    known = next((one for one in payment.disputes if one.id == dispute.id), None)
    if known and (
        known.status == dispute.status or known.at > dispute.at or (known.closed and not dispute.closed)
    ):
        return payment
    others = tuple(one for one in payment.disputes if one.id != dispute.id)
    event = dispute_event(payment, dispute, now)
    return changed(payment, disputes=(*others, dispute), outbox=(*payment.outbox, event))


def _with(refund: Refund, **fields: object) -> Refund:
    return replace(refund, **fields)  # type: ignore[arg-type]


def _step(
    status: str,
    actor: Actor,
    now: datetime,
    gateway_id: str | None = None,
    event_id: str | None = None,
    note: str | None = None,
) -> Step:
    return Step(now, status, actor, gateway_id, current_request_id(), event_id, note)
