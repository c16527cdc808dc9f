"""Check that a gateway object belongs to our record. Only then may it change the record.

Other deployments, applications, and people may use the same account, and metadata can be copied. So every
field that both sides have must agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.gateway import GatewayPayment
    from app.payments.records import Payment

log = get_logger(__name__)


def disagreement(payment: Payment, fact: GatewayPayment, namespace: str) -> str | None:
    """Return the first field in which a gateway's payment differs from the record; None if they agree.

    Args:
        payment: the record.
        fact: the gateway's payment.
        namespace: namespace of this deployment.
    """
    # Versions without namespaces recorded no attempts either.
    unmarked = payment.attempted_at is None and not fact.namespace
    expected = {
        "namespace": (namespace, namespace if unmarked else fact.namespace),
        "transaction_id": (payment.id, fact.transaction_id),
        "booking_id": (payment.booking_id, fact.booking_id),
        "amount": (payment.amount, fact.amount),
        "currency": (payment.currency, fact.currency),
        "gateway_id": (payment.gateway_id or fact.gateway_id, fact.gateway_id),
    }
    return next((field for field, (here, there) in expected.items() if here != there), None)


def agrees(payment: Payment, fact: GatewayPayment, namespace: str) -> bool:
    """Return whether a fact agrees with the record. Log and count it if not: it needs an operator."""
    field = disagreement(payment, fact, namespace)
    if field is None:
        return True
    metrics.FOREIGN_FACTS.labels(field).inc()
    log.error(
        "gateway payment does not match the record",
        transaction_id=payment.id,
        booking_id=payment.booking_id,
        gateway_id=fact.gateway_id,
        field=field,
    )
    return False
