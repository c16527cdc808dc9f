"""The sweep that finds out what became of payments and refunds whose answer never came."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.models import Transaction
from app.payments import states
from app.telemetry import tracing

if TYPE_CHECKING:
    from app.payments.service import Payments

_LONGEST_PAUSE = timedelta(hours=1)

ACTOR = "recovery"


def recover_due(payments: Payments, limit: int = 100) -> int:
    """Ask after everything whose outcome should be known by now. Safe in many processes at once.

    Args:
        payments: the payment side.
        limit: transactions of one round.

    Returns:
        How many were asked after.
    """
    now = utcnow()
    asked = 0
    for payment in Transaction.objects(recover_after__lt=now).order_by("recover_after").limit(limit):
        # The older it is, the less often; but if this process dies now, soon.
        again = now + min(max((now - payment.created_at) / 2, payments.recover_in), _LONGEST_PAUSE)
        mine = Transaction.objects(id=payment.id, recover_after=payment.recover_after)
        if mine.update_one(set__recover_after=again):
            with tracing.span("recover payment", {"movieapp.transaction_id": payment.id}):
                _recover(payments, payment, again)
            asked += 1
    return asked


def _recover(payments: Payments, payment: Transaction, again: datetime) -> None:
    if payment.status in states.UNSETTLED:
        payments.settle(payment, actor=ACTOR)
        return
    payments.refunds.ask_again(payment, actor=ACTOR)
    if not any(refund.status == states.PENDING for refund in payment.refunds):
        # Unless a new refund has set another time meanwhile.
        Transaction.objects(id=payment.id, recover_after=again).update_one(unset__recover_after=True)
