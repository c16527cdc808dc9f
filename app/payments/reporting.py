"""Log and count a stored change: one line for each fact, from the process that stored it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from app.clock import seconds
from app.payments.records import changed
from app.payments.states import FINAL, PaymentStatus, RefundStatus
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.records import Payment, Refund, Step

log = get_logger(__name__)


def stored(payment: Payment) -> Payment:
    """Return the record as the ledger stores it."""
    return changed(payment, revision=payment.revision + 1)


def report(before: Payment, after: Payment) -> None:
    """Log and count the differences between two versions of a payment. `after` is the stored one."""
    step = after.history[-1]
    if after.status != before.status and not after.refunds:
        _report_payment(after, step)
    known = {refund.id: refund.status for refund in before.refunds}
    for refund in after.refunds:
        if known.get(refund.id) != refund.status:
            _report_refund(after, refund, known.get(refund.id), step)
    for dispute in set(after.disputes) - set(before.disputes):
        metrics.DISPUTES.labels(dispute.status).inc()
        log.warning("dispute", transaction_id=after.id, dispute_id=dispute.id, status=dispute.status)
    if after.fraud_warning and not before.fraud_warning:
        metrics.FRAUD_WARNINGS.inc()
        log.warning(
            "early fraud warning",
            transaction_id=after.id,
            gateway_id=after.gateway_id,
            reason=after.fraud_warning,
        )
    if after.stray_charge and not before.stray_charge:
        metrics.STRAY_CHARGES.inc()
        log.error(
            "charged although failed",
            transaction_id=after.id,
            booking_id=after.booking_id,
            gateway_id=after.stray_charge,
            amount=str(after.amount),
            currency=after.currency,
        )


def _report_payment(payment: Payment, step: Step) -> None:
    metrics.PAYMENTS.labels(payment.status, payment.payment_method, payment.error_code or "").inc()
    # If the customer had to confirm, the duration would include the customer's time.
    if payment.status in FINAL and not any(
        one.status == PaymentStatus.REQUIRES_ACTION for one in payment.history
    ):
        metrics.PAYMENT_SECONDS.labels(payment.status).observe(seconds(payment.created_at, step.at))
    if payment.status == PaymentStatus.COMPLETED:
        metrics.REVENUE.labels(payment.currency).inc(float(payment.amount))
    level = logging.INFO if payment.status in FINAL else logging.DEBUG
    log.log(
        logging.WARNING if step.note and payment.status == PaymentStatus.FAILED else level,
        "payment",
        transaction_id=payment.id,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        amount=str(payment.amount),
        currency=payment.currency,
        payment_method=payment.payment_method,
        status=payment.status,
        error_code=payment.error_code,
        reason=step.note,
        actor=step.actor,
    )


def _report_refund(payment: Payment, refund: Refund, before: RefundStatus | None, step: Step) -> None:
    if refund.status == RefundStatus.PENDING:
        return
    fields = {
        "transaction_id": payment.id,
        "refund_transaction_id": refund.id,
        "booking_id": payment.booking_id,
    }
    if refund.status == RefundStatus.COMPLETED:
        metrics.REFUNDED.labels(payment.currency).inc(float(refund.amount))
    if before is None:
        metrics.REFUNDS.labels(refund.status).inc()
        log.warning("refund made elsewhere", **fields)
        return
    if before == RefundStatus.COMPLETED:
        metrics.REFUNDS.labels("taken_back").inc()
        log.error("refund failed after it had succeeded", reason=refund.error_message, **fields)
        return
    metrics.REFUNDS.labels(refund.status).inc()
    log.log(
        logging.INFO if refund.status == RefundStatus.COMPLETED else logging.WARNING,
        "refund",
        user_id=payment.user_id,
        amount=str(refund.amount),
        currency=payment.currency,
        status=refund.status,
        reason=refund.error_message,
        actor=step.actor,
        **fields,
    )
