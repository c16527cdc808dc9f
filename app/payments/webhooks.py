"""What Stripe tells us by itself. An event is taken as a hint to ask, not as the truth.

Events come late, twice, and in any order. So one about a payment or a refund makes us ask the gateway how
it stands now; what is recorded is the answer, by the same compare-and-set as everywhere. Only what can't be
asked for that way is taken from the event itself: a refund that failed after it succeeded, and disputes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.clock import seconds, utcnow
from app.models import Dispute, Transaction, WebhookDelivery, storage_errors
from app.payments import states
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.gateway import WebhookEvent
    from app.payments.service import Payments

log = get_logger(__name__)

_ACTOR = "webhook"

Handler = Callable[["Payments", Mapping[str, Any]], None]


def handle(payments: Payments, event: WebhookEvent) -> bool:
    """Act on a verified event.

    Returns:
        Whether it was new. One that failed half way is not remembered, and acted on when it comes again.

    Raises:
        ServiceUnavailable: MongoDB did not answer; Stripe will deliver again.
    """
    now = utcnow()
    kind = metrics.known(event.type, _HANDLERS)
    metrics.WEBHOOK_LAG.observe(seconds(event.created, now))
    with storage_errors():
        if WebhookDelivery.objects(id=event.id).count():
            metrics.WEBHOOKS.labels(kind, "repeated").inc()
            return False
    handler = _HANDLERS.get(event.type)
    if handler:
        handler(payments, event.subject)
    metrics.WEBHOOKS.labels(kind, "new").inc()
    log.debug("webhook", webhook_id=event.id, webhook_type=event.type, handled=handler is not None)
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


def _find(
    payments: Payments, intent_id: str | None, metadata: Mapping[str, Any] | None
) -> Transaction | None:
    """The payment that a PaymentIntent belongs to, also when its id was never recorded.

    Raises:
        GatewayError: only the gateway knows, and it did not say; Stripe will deliver again.
    """
    if not intent_id:
        return None
    with storage_errors():
        found: Transaction | None = Transaction.objects(gateway_id=intent_id).first()
        if found is None:
            named = (metadata or {}).get("transaction_id") or payments.transaction_of(intent_id)
            found = Transaction.objects(id=named).first() if named else None
    if found is None:
        log.warning("webhook about a payment that is not ours", gateway_id=intent_id)
    return found


def _settled(
    payments: Payments, intent_id: str | None, metadata: Mapping[str, Any] | None
) -> Transaction | None:
    """The payment that a PaymentIntent belongs to, as the gateway says it stands."""
    payment = _find(payments, intent_id, metadata)
    if payment is None:
        return None
    payment.gateway_id = payment.gateway_id or intent_id
    return payments.settle(payment, actor=_ACTOR).payment


def _payment(payments: Payments, intent: Mapping[str, Any]) -> None:
    payment = _settled(payments, intent["id"], intent.get("metadata"))
    if payment is None:
        return
    if payment.status == states.FAILED and intent["status"] == "succeeded":
        log.error("charged, but recorded as failed", transaction_id=payment.id, gateway_id=intent["id"])


def _refunds(payments: Payments, subject: Mapping[str, Any]) -> None:
    payment = _settled(payments, subject.get("payment_intent"), subject.get("metadata"))
    if payment:
        payments.refunds.ask_again(payment, actor=_ACTOR)
        payments.refunds.adopt(payment, actor=_ACTOR)


def _refund_failed(payments: Payments, refund: Mapping[str, Any]) -> None:
    payment = _settled(payments, refund.get("payment_intent"), None)
    if payment:
        payments.refunds.take_back(payment, refund["id"], str(refund.get("failure_reason")), actor=_ACTOR)


def _dispute(payments: Payments, dispute: Mapping[str, Any]) -> None:
    payment = _find(payments, dispute.get("payment_intent"), None)
    if payment is None:
        return
    seen = Dispute(id=dispute["id"], status=dispute["status"], reason=dispute.get("reason"), at=utcnow())
    with storage_errors():
        mine = Transaction.objects(id=payment.id)
        known = mine.filter(disputes__id=seen.id)
        # An opening that comes after the closing must not reopen it.
        if dispute["status"] in _CLOSED:
            known.update_one(set__disputes__S__status=seen.status, set__disputes__S__at=seen.at)
        mine.filter(disputes__id__ne=seen.id).update_one(push__disputes=seen)
    log.warning("dispute", transaction_id=payment.id, dispute_id=seen.id, status=seen.status)


#: https://docs.stripe.com/api/disputes/object#dispute_object-status
_CLOSED = frozenset({"won", "lost", "warning_closed"})

#: Event type → what to do. Other types are welcome and ignored.
_HANDLERS: dict[str, Handler] = {
    "payment_intent.succeeded": _payment,
    "payment_intent.payment_failed": _payment,
    "payment_intent.canceled": _payment,
    "payment_intent.processing": _payment,
    "payment_intent.requires_action": _payment,
    "charge.refunded": _refunds,
    "refund.updated": _refunds,
    "refund.failed": _refund_failed,
    "charge.dispute.created": _dispute,
    "charge.dispute.closed": _dispute,
}
