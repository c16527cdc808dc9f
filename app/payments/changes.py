"""All changes of payments, as pure functions of the record.

Each function takes the stored record and returns the record to store instead, with its events, or the same
object if nothing changes. `Books.change` stores the result, and calls the function again if the record
changed meanwhile.
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

#: Replacement for an erased text.
ERASED = "erased"

#: Maximum number of refunds of a payment, because they are stored in its record. Operators may exceed it: a
#: bulk refund starts a new refund after each one that recovery found not to have been carried out.
MAX_REFUNDS = 100

#: History entry for a charge that succeeded after the payment had ended unpaid.
CHARGED_ALTHOUGH_FAILED = "charged_although_failed"


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
    """Return a new pending payment.

    Args:
        order: the order, in canonical form and with a currency.
        transaction_id: the id to give it.
        gateway_method: the gateway's payment method id; None if the customer chooses at the gateway.
        actor: who requests the payment.
        now: the time, UTC.
        recover_in: time from this attempt until recovery looks up the outcome.
    """
    if order.currency is None:
        raise ValueError("the order must have a currency")
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
    """Start another attempt of a payment whose outcome is unknown, for the same client."""
    if payment.status != PaymentStatus.PENDING or payment.gateway_id:
        return payment
    return changed(payment, attempted_at=now, recover_after=now + recover_in)


def lookup_scheduled(payment: Payment, at: datetime) -> Payment:
    """Schedule the next lookup at `at`."""
    return changed(payment, recover_after=at)


def lookups_finished(payment: Payment) -> Payment:
    """Stop lookups, unless something is open."""
    if payment.recover_after is None or not _are_outcomes_known(payment):
        return payment
    return changed(payment, recover_after=None)


def _are_outcomes_known(payment: Payment) -> bool:
    return (
        payment.status not in UNSETTLED
        and payment.stray_charge is None
        and not any(refund.pending for refund in payment.refunds)
    )


def named(payment: Payment, gateway_id: str) -> Payment:
    """Record the gateway's id of the payment."""
    return payment if payment.gateway_id else changed(payment, gateway_id=gateway_id)


def awaiting_customer(payment: Payment, gateway_id: str, *, actor: Actor, now: datetime) -> Payment:
    """Record that the customer has to confirm the payment."""
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
    """Record that the gateway charged the payment."""
    if payment.status in REFUNDABLE or payment.status == PaymentStatus.REFUNDED:
        return payment
    return _moved(
        payment,
        PaymentStatus.COMPLETED,
        actor,
        now,
        gateway_id=gateway_id,
        card_brand=card_brand,
        card_last_four=card_last_four,
    )


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
    """Record a failure: certainly nothing was charged.

    Args:
        payment: the stored record.
        decline: the reason.
        gateway_id: the gateway's id of the payment, if it has one.
        actor: who learned of it.
        now: the time, UTC.
        announced: whether to notify the customer; False for a request that the caller will repeat.
        note: the gateway's reason, for operators.
    """
    if payment.status in UNPAID:
        return payment
    return _moved(
        payment,
        PaymentStatus.FAILED,
        actor,
        now,
        gateway_id=gateway_id,
        announced=announced,
        note=note,
        error_code=decline.code,
        error_message=decline.message,
        retry_advice=decline.retry,
    )


def canceled(
    payment: Payment, gateway_id: str | None, *, actor: Actor, now: datetime, note: str | None
) -> Payment:
    """Record a cancellation before anything was charged."""
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
    **learned: object,
) -> Payment:
    """Return the record in another status, with the fields that were learned with it."""
    if target not in MOVES[payment.status]:
        raise IllegalMove(payment, target)
    if target not in UNSETTLED:
        learned |= {"processed_at": now, "recover_after": None}
    moved = changed(payment, status=target, gateway_id=gateway_id or payment.gateway_id, **learned)
    event = payment_event(moved, now) if announced else None
    step = _step(target, actor, now, moved.gateway_id, event.event_id if event else None, note)
    outbox = (*moved.outbox, event) if event else moved.outbox
    return changed(moved, history=moved.with_step(step), outbox=outbox)


def refund_reserved(
    payment: Payment, refund: Refund, *, actor: Actor, now: datetime, recover_in: timedelta
) -> Payment:
    """Reserve the amount of a refund before the gateway call.

    Raises:
        RefundNotAllowed: the payment can't be refunded, or less than that is left.
    """
    if payment.refund(refund.id):
        return payment  # another attempt of the same request was faster
    check_refundable(payment, actor)
    if refund.amount > payment.refundable:
        raise RefundNotAllowed(
            f"The refund exceeds the amount left to refund, {payment.refundable} {payment.currency}.",
            transaction_id=payment.id,
        )
    return _with_new_refund(payment, refund, actor, now, recover_in)


def check_refundable(payment: Payment, actor: Actor = Actor.API) -> None:
    """Check that the payment can be refunded now by `actor`.

    Raises:
        RefundNotAllowed: it can't. The message gives the reason.
    """
    details = {"transaction_id": payment.id}
    if payment.status not in REFUNDABLE:
        raise RefundNotAllowed(f"The payment can't be refunded: its status is {payment.status}.", **details)
    if any(dispute.holds_money for dispute in payment.disputes):
        message = "A disputed payment can't be refunded: the cardholder's bank decides the dispute."
        raise RefundNotAllowed(message, **details)
    if len(payment.refunds) >= MAX_REFUNDS and actor != Actor.OPERATOR:
        raise RefundNotAllowed(f"This payment already has {MAX_REFUNDS} refunds, the maximum.", **details)


def stray_refund_reserved(
    payment: Payment, refund: Refund, *, actor: Actor, now: datetime, recover_in: timedelta
) -> Payment:
    """Reserve the refund of a stray charge.

    One refund at a time, at most `MAX_REFUNDS`. After as many refusals, only an operator may try again.
    """
    is_pending = any(one.pending for one in payment.refunds)
    if payment.stray_charge is None or is_pending or not payment.refundable:
        return payment
    if len(payment.refunds) >= MAX_REFUNDS and actor != Actor.OPERATOR:
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
    """Record the gateway's id of an accepted refund. Its outcome is still open."""
    refund = payment.refund(refund_id)
    if refund is None or refund.gateway_id:
        return payment
    return changed(payment, refunds=payment.with_refund(_with(refund, gateway_id=gateway_id)))


def refund_resumed(payment: Payment, refund_id: str, look_at: datetime) -> Payment:
    """Start another attempt of a pending refund. Recovery looks up its outcome at `look_at`."""
    refund = payment.refund(refund_id)
    if refund is None or not refund.pending:
        return payment
    payment = changed(payment, refunds=payment.with_refund(_with(refund, resumed=True)))
    return lookup_scheduled(payment, look_at)


def refund_refused(
    payment: Payment, refund_id: str, reason: str, *, transient: bool, actor: Actor, now: datetime
) -> Payment:
    """Record that the gateway did not carry out a refund request.

    This changes only a pending refund, because another attempt with the same key may have succeeded. If one
    has started or may start, a transient refusal leaves the outcome open.
    """
    refund = payment.refund(refund_id)
    if refund is None or not refund.pending or (transient and refund.resumed):
        return payment
    return refund_failed(payment, refund_id, reason, actor=actor, now=now)


def refund_completed(
    payment: Payment, refund_id: str, gateway_id: str, *, actor: Actor, now: datetime
) -> Payment:
    """Record that a refund succeeded."""
    refund = payment.refund(refund_id)
    if refund is None or refund.status == RefundStatus.COMPLETED:
        return payment
    if refund.status == RefundStatus.FAILED and refund.gateway_id:
        return payment  # as the gateway reported: a failure is final there, so this success is older
    reserved = payment.refund_reserved
    if refund.status == RefundStatus.FAILED:  # its amount was available again
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
    """Record a completed refund that was made elsewhere, for example in the gateway's dashboard."""
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
    is_full = total >= payment.amount
    target = PaymentStatus.REFUNDED if is_full else PaymentStatus.PARTIALLY_REFUNDED
    if target not in MOVES[payment.status]:
        raise IllegalMove(payment, target)
    event = refund_event(payment, refund, now)
    step = _step(target, actor, now, refund.gateway_id, event.event_id, refund.id)
    return lookups_finished(
        changed(
            payment,
            status=target,
            amount_refunded=total,
            stray_charge=None if is_full else payment.stray_charge,
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
    """Record that a refund failed, and release its amount."""
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
    return lookups_finished(
        changed(
            payment,
            refunds=payment.with_refund(over),
            refund_reserved=payment.refund_reserved - refund.amount,
            history=payment.with_step(step),
        )
    )


def _taken_back(payment: Payment, refund: Refund, reason: str, actor: Actor, now: datetime) -> Payment:
    """Record that a successful refund failed later: the customer's bank returned the money."""
    left = payment.amount_refunded - refund.amount
    target = PaymentStatus.PARTIALLY_REFUNDED if left else PaymentStatus.COMPLETED
    over = _with(refund, status=RefundStatus.FAILED, error_message=reason)
    return changed(
        payment,
        status=target,
        stray_charge=payment.stray_charge or _stray_charge_of(payment),
        refunds=payment.with_refund(over),
        refund_reserved=payment.refund_reserved - refund.amount,
        amount_refunded=left,
        history=payment.with_step(_step(target, actor, now, refund.gateway_id, note=refund.id)),
    )


def _stray_charge_of(payment: Payment) -> str | None:
    """Return the id of the stray charge, refunded or not."""
    return next((step.gateway_id for step in payment.history if step.status == CHARGED_ALTHOUGH_FAILED), None)


def strayed(
    payment: Payment, gateway_id: str, *, actor: Actor, now: datetime, look_at: datetime | None
) -> Payment:
    """Record a stray charge: the gateway charged a payment that had ended unpaid.

    Args:
        payment: the stored record.
        gateway_id: the gateway's id of the charge.
        actor: who learned of it.
        now: the time, UTC.
        look_at: when recovery checks that it was refunded; None leaves it to an operator.
    """
    if payment.status not in UNPAID or payment.stray_charge:
        return payment
    return changed(
        payment,
        stray_charge=gateway_id,
        gateway_id=gateway_id,
        recover_after=look_at,
        history=payment.with_step(_step(CHARGED_ALTHOUGH_FAILED, actor, now, gateway_id)),
    )


def fraud_warned(payment: Payment, reason: str | None, *, actor: Actor, now: datetime) -> Payment:
    """Record the card network's fraud warning. An operator can prevent a dispute with a refund."""
    if payment.fraud_warning:
        return payment
    kind = reason or "unknown"
    step = _step("fraud_warning", actor, now, payment.gateway_id, note=kind)
    return changed(payment, fraud_warning=kind, history=payment.with_step(step))


def personal_data_erased(payment: Payment, *, actor: Actor, now: datetime) -> Payment:
    """Erase the customer's data. Ids, amounts, and states stay as accounting records."""
    refunds = tuple(_with(refund, reason=ERASED) for refund in payment.refunds)
    erased = changed(payment, contact={}, metadata={}, return_url=None, refunds=refunds)
    if erased == payment:
        return payment
    return changed(erased, history=payment.with_step(_step("personal_data_erased", actor, now)))


def dispute_noted(payment: Payment, dispute: Dispute, now: datetime) -> Payment:
    """Record a new or changed dispute. Facts arrive in any order: the newest counts, and an end is final."""
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
