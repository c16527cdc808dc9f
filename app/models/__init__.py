"""MongoEngine documents and their indexes."""

from app.models.api_key import ApiKey
from app.models.dashboard_session import DashboardSession
from app.models.database import OUTAGES, connect, database, disconnect, storage_errors, storage_writes
from app.models.idempotency import IdempotencyRecord
from app.models.notification import GRACE, Attempt, Notification
from app.models.transaction import Dispute, Move, OutboxEntry, Refund, Transaction
from app.models.webhook import WebhookDelivery

#: Every kind of document.
RECORDS = (ApiKey, DashboardSession, IdempotencyRecord, Notification, Transaction, WebhookDelivery)


def create_indexes() -> None:
    """Build the indexes that are missing; may take minutes on large collections. Safe to repeat and to share.

    Raises:
        ServiceUnavailable: MongoDB did not answer, or refused.
    """
    with storage_errors():
        for record in RECORDS:
            if record.missing_indexes():
                record.ensure_indexes()


def missing_indexes() -> list[str]:
    """The declared indexes that MongoDB does not have."""
    return [name for record in RECORDS for name in record.missing_indexes()]


__all__ = [
    "GRACE",
    "OUTAGES",
    "RECORDS",
    "ApiKey",
    "Attempt",
    "DashboardSession",
    "Dispute",
    "IdempotencyRecord",
    "Move",
    "Notification",
    "OutboxEntry",
    "Refund",
    "Transaction",
    "WebhookDelivery",
    "connect",
    "create_indexes",
    "database",
    "disconnect",
    "missing_indexes",
    "storage_errors",
    "storage_writes",
]
