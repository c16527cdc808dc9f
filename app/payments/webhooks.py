"""Webhooks of the gateway: each is a hint to look, not the truth.

Webhooks come late, twice, and in any order. So one about a payment or a refund makes us look up how it
stands now; what is recorded is that, by the same compare-and-set as everywhere. Only disputes are taken from
the webhook itself, and only in their order.
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

    from app.gateway import GatewayEvent
    from app.payments.records import Payment
    from app.payments.service import Payments

log = get_logger(__name__)


class WebhookLog(Protocol):
    """Remembers which webhooks were acted on, so that a repeated one costs nothing."""

    def seen(self, event_id: str) -> bool:
        """Whether that event was acted on."""

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        """Note that an event was acted on."""


class MongoWebhookLog:
    """See `WebhookLog`.

    Both methods raise `ServiceUnavailable` if MongoDB does not answer.
    """

    def seen(self, event_id: str) -> bool:
        with storage_errors():
            return bool(WebhookDelivery.objects(id=event_id).count())

    def remember(self, event: GatewayEvent, now: datetime) -> None:
        # Not unique: it came twice at the same time.
        with storage_errors(), suppress(NotUniqueError):
            WebhookDelivery(id=event.id, type=event.type, received_at=now).insert()


def last_received() -> datetime | None:
    """When the last valid webhook came in; None if none did in two weeks.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    with storage_errors():
        last = WebhookDelivery.objects.order_by("-received_at").only("received_at").first()
    return last.received_at if last else None


def handle(payments: Payments, event: GatewayEvent, deliveries: WebhookLog) -> bool:
    """Act on a verified event.

    Returns:
        Whether it was new. One that failed half way is not remembered, and acted on when it comes again.

    Raises:
        GatewayError: the gateway did not answer, or is too slow: it will deliver again.
        ServiceUnavailable: the database did not answer: the gateway will deliver again.
    """
    now = utcnow()
    kind = metrics.known(event.type, HANDLED_EVENTS)
    metrics.WEBHOOK_LAG.observe(seconds(event.created, now))
    if deliveries.seen(event.id):
        metrics.WEBHOOKS.labels(kind, "repeated").inc()
        return False
    match event.change:
        case PaymentChanged(gateway_id, transaction_id):
            _settle(payments, gateway_id, transaction_id)
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
    """The payment that an event is about, also when the gateway's id of it was never recorded.

    Raises:
        GatewayError: only the gateway knows, and it did not answer.
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


def _settle(payments: Payments, gateway_id: str | None, transaction_id: str | None) -> Payment | None:
    """Look up the payment that an event is about, and record how it stands."""
    payment = _find(payments, gateway_id, transaction_id)
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
    # The first webhook about a payment may be this one: what it is about is settled first.
    payment = _settle(payments, fact.payment_gateway_id, None)
    if payment is None or payment.gateway_id != fact.payment_gateway_id:
        return
    dispute = Dispute(fact.gateway_id, fact.status, as_of, fact.reason, fact.amount, fact.evidence_due_by)
    payments.books.change(payment, lambda stored: changes.dispute_noted(stored, dispute, utcnow()))


def _warn_of_fraud(payments: Payments, gateway_id: str | None, reason: str | None) -> None:
    payment = _find(payments, gateway_id, None)
    if payment:
        log.warning("early fraud warning", transaction_id=payment.id, gateway_id=gateway_id, reason=reason)
