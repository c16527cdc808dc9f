"""What the gateway's webhooks cause. An event is a hint to look something up, not the truth.

Events come late, twice, and in any order. So one about a payment or a refund makes us look up how it stands
now; that is recorded, by the same compare-and-set as everywhere. Only disputes are taken from the event.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from mongoengine.errors import NotUniqueError

from app.clock import seconds, utcnow
from app.gateway import (
    HANDLED_EVENTS,
    Charged,
    DisputeChanged,
    GatewayChange,
    GatewayDispute,
    GatewayEvent,
    PaymentChanged,
    RefundChanged,
)
from app.models import Dispute, Transaction, WebhookDelivery, storage_errors
from app.payments import states
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.service import Payments

log = get_logger(__name__)

_ACTOR = "webhook"


def handle(payments: Payments, event: GatewayEvent) -> bool:
    """Act on a verified event.

    Returns:
        Whether it was new. One that failed half way is not remembered, and acted on when it comes again.

    Raises:
        ServiceUnavailable: MongoDB did not answer; Stripe will deliver again.
    """
    now = utcnow()
    kind = metrics.known(event.type, HANDLED_EVENTS)
    metrics.WEBHOOK_LAG.observe(seconds(event.created, now))
    with storage_errors():
        if WebhookDelivery.objects(id=event.id).count():
            metrics.WEBHOOKS.labels(kind, "repeated").inc()
            return False
    if event.change:
        _act(payments, event.change)
    metrics.WEBHOOKS.labels(kind, "new").inc()
    log.debug("webhook", webhook_id=event.id, webhook_type=event.type, handled=event.change is not None)
    with storage_errors():
        try:
            WebhookDelivery(id=event.id, type=event.type, received_at=now).insert()
        except NotUniqueError:
            return False
    return True


def last_received() -> datetime | None:
    """When the last valid webhook came in; None if none did in two weeks.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    with storage_errors():
        last = WebhookDelivery.objects.order_by("-received_at").only("received_at").first()
    return last.received_at if last else None


def _act(payments: Payments, change: GatewayChange) -> None:
    match change:
        case PaymentChanged():
            _payment(payments, change)
        case RefundChanged():
            _refunds(payments, change)
        case DisputeChanged(dispute):
            _dispute(payments, dispute)


def _find(payments: Payments, gateway_id: str | None, transaction_id: str | None) -> Transaction | None:
    """The payment with that id at the gateway, also when the id was never recorded.

    Raises:
        GatewayUnavailable: only the gateway knows, and it gave no usable response; it will deliver again.
    """
    if not gateway_id:
        return None
    with storage_errors():
        found: Transaction | None = Transaction.objects(gateway_id=gateway_id).first()
        if found is None and not transaction_id:
            made = payments.at_gateway(gateway_id)
            transaction_id = made.transaction_id if made else None
        if found is None and transaction_id:
            found = Transaction.objects(id=transaction_id).first()
    if found is None:
        log.warning("webhook about a payment that is not ours", gateway_id=gateway_id)
    return found


def _settled(payments: Payments, gateway_id: str | None, transaction_id: str | None) -> Transaction | None:
    """The payment with that id at the gateway, settled as the gateway says it stands."""
    payment = _find(payments, gateway_id, transaction_id)
    if payment is None:
        return None
    payment.gateway_id = payment.gateway_id or gateway_id
    return payments.settle(payment, actor=_ACTOR).payment


def _payment(payments: Payments, change: PaymentChanged) -> None:
    payment = _settled(payments, change.payment_gateway_id, change.transaction_id)
    if payment is None or payment.status != states.FAILED:
        return
    made = payments.at_gateway(change.payment_gateway_id)
    if made and isinstance(made.outcome, Charged):
        log.error("charged, but recorded as failed", transaction_id=payment.id, gateway_id=made.gateway_id)


def _refunds(payments: Payments, change: RefundChanged) -> None:
    payment = _settled(payments, change.payment_gateway_id, None)
    if payment is None:
        return
    reason = payments.refunds.failure_of(change.refund_gateway_id) if change.refund_gateway_id else None
    if change.refund_gateway_id and reason:
        payments.refunds.take_back(payment, change.refund_gateway_id, reason, actor=_ACTOR)
        return
    payments.refunds.ask_again(payment, actor=_ACTOR)
    payments.refunds.adopt(payment, actor=_ACTOR)


def _dispute(payments: Payments, dispute: GatewayDispute) -> None:
    payment = _find(payments, dispute.payment_gateway_id, None)
    if payment is None:
        return
    seen = Dispute(id=dispute.gateway_id, status=dispute.status, reason=dispute.reason, at=utcnow())
    with storage_errors():
        mine = Transaction.objects(id=payment.id)
        known = mine.filter(disputes__id=seen.id)
        # An opening that comes after the closing must not reopen it.
        if dispute.status in _CLOSED:
            known.update_one(set__disputes__S__status=seen.status, set__disputes__S__at=seen.at)
        mine.filter(disputes__id__ne=seen.id).update_one(push__disputes=seen)
    log.warning("dispute", transaction_id=payment.id, dispute_id=seen.id, status=seen.status)


#: Statuses of a dispute that is over.
_CLOSED = frozenset({"won", "lost", "warning_closed"})
