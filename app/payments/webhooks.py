"""Handle the gateway's webhooks. Each is a hint to look up the current state.

Webhooks arrive late, twice, and out of order. So a webhook about a payment or refund triggers a lookup, and
its result is recorded with the usual compare-and-set. Only disputes are read from the webhook itself, in
order.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from mongoengine.errors import NotUniqueError

from app.clock import seconds, utcnow
from app.gateway import HANDLED_EVENTS, DisputeChanged, FraudWarned, PaymentChanged, RefundChanged, Share
from app.models import WebhookDelivery, storage_errors
from app.payments import changes
from app.payments.records import Dispute
from app.payments.states import PAID, Actor
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from datetime import datetime

    from app.gateway import Declined, GatewayEvent
    from app.payments.records import Payment
    from app.payments.service import Payments

log = get_logger(__name__)


class WebhookLog(Protocol):
    """Log of handled webhooks, so that repeated ones are skipped."""

    def has_seen(self, event_id: str) -> bool:
        """Return whether the event was handled."""

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        """Record that the event was handled."""


class MongoWebhookLog:
    """A `WebhookLog` in MongoDB.

    Both methods raise `ServiceUnavailable` if MongoDB is unavailable.
    """

    def has_seen(self, event_id: str) -> bool:
        with storage_errors():
            return bool(WebhookDelivery.objects(id=event_id).count())

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        # Not unique: the webhook arrived twice at the same time.
        with storage_errors(), suppress(NotUniqueError):
            WebhookDelivery(id=event.id, type=event.type, received_at=now).insert()


def last_received() -> datetime | None:
    """Return when the last valid webhook arrived; None if none did within two weeks.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    with storage_errors():
        last = WebhookDelivery.objects.order_by("-received_at").only("received_at").first()
    return last.received_at if last else None


def handle(payments: Payments, event: GatewayEvent, deliveries: WebhookLog) -> bool:
    """Handle a verified event.

    Returns:
        Whether it was new. A failed event is not recorded, and is handled when it is redelivered.

    Raises:
        GatewayError: the gateway is unavailable or too slow. It will redeliver the webhook.
        ServiceUnavailable: the database is unavailable. The gateway will redeliver the webhook.
    """
    now = utcnow()
    kind = metrics.known(event.type, HANDLED_EVENTS)
    metrics.WEBHOOK_LAG.observe(seconds(event.created, now))
    if deliveries.has_seen(event.id):
        metrics.WEBHOOKS.labels(kind, "repeated").inc()
        return False
    match event.change:
        case PaymentChanged(gateway_id, transaction_id, declined=declined):
            _settle(payments, gateway_id, transaction_id, declined)
        case RefundChanged(gateway_id):
            _synchronize_refunds(payments, gateway_id)
        case DisputeChanged():
            _note_dispute(payments, event.change, event.created)
        case FraudWarned(gateway_id, reason):
            _warn_of_fraud(payments, gateway_id, reason)
    metrics.WEBHOOKS.labels(kind, "new").inc()
    log.debug("webhook", webhook_id=event.id, webhook_type=event.type, handled=event.change is not None)
    deliveries.remember(event, now)
    return True


def _find(payments: Payments, gateway_id: str | None, transaction_id: str | None) -> Payment | None:
    """Find the payment of an event, also if its gateway id was never recorded.

    Raises:
        GatewayError: the lookup needs the gateway, which is unavailable.
    """
    if not gateway_id:
        return None
    found = payments.books.ledger.find_by_gateway_id(gateway_id)
    if found is None:
        if transaction_id is None:
            with payments.gateway.admitted(Share.WEBHOOK):
                fact = payments.gateway.payment(gateway_id)
            transaction_id = fact.transaction_id if fact else None
        found = payments.books.ledger.find(transaction_id) if transaction_id else None
    if found is None:
        log.warning("webhook about a payment that is not ours", gateway_id=gateway_id)
    return found


def _settle(
    payments: Payments,
    gateway_id: str | None,
    transaction_id: str | None,
    declined: Declined | None = None,
) -> Payment | None:
    """Look up the payment of an event, and record its state."""
    payment = _find(payments, gateway_id, transaction_id)
    if payment and payment.gateway_id == gateway_id:
        # The lookup shows the last attempt only, and a browser may have made several since.
        payments.count_decline(payment, declined)
    if payment is None or gateway_id is None or (payment.status in PAID and payment.gateway_id == gateway_id):
        return payment
    with payments.gateway.admitted(Share.WEBHOOK):
        fact = payments.gateway.payment(gateway_id)
        if fact is None:
            log.warning("webhook about a payment unknown to the gateway", gateway_id=gateway_id)
            return None
        return payments.settle_by(payment, fact, Actor.WEBHOOK).payment


def _synchronize_refunds(payments: Payments, gateway_id: str | None) -> None:
    payment = _settle(payments, gateway_id, None)
    if payment and payment.gateway_id == gateway_id:
        with payments.gateway.admitted(Share.WEBHOOK):
            payments.refunds.synchronize(payment, Actor.WEBHOOK)


def _note_dispute(payments: Payments, change: DisputeChanged, as_of: datetime) -> None:
    fact = change.dispute
    # This may be the first webhook about the payment, so the payment is settled first.
    payment = _settle(payments, fact.payment_gateway_id, None)
    if payment is None or payment.gateway_id != fact.payment_gateway_id:
        return
    dispute = Dispute(fact.gateway_id, fact.status, as_of, fact.reason, fact.amount, fact.evidence_due_by)
    payments.books.change(payment, lambda stored: changes.dispute_noted(stored, dispute, utcnow()))


def _warn_of_fraud(payments: Payments, gateway_id: str | None, reason: str | None) -> None:
    payment = _find(payments, gateway_id, None)
    if payment:
        now = utcnow()
        payments.books.change(
            payment, lambda stored: changes.fraud_warned(stored, reason, actor=Actor.WEBHOOK, now=now)
        )
