"""MongoEngine documents and their indexes."""

from app.models.api_key import ApiKey
from app.models.bounce import HandledBounce
from app.models.dashboard_session import DashboardSession
from app.models.database import OUTAGES, Record, connect, database, disconnect, storage_errors, storage_writes
from app.models.erasure import Erasure
from app.models.idempotency import IdempotencyRecord
from app.models.notification import GRACE, Attempt, Notification
from app.models.operator_action import OperatorAction
from app.models.refund_run import RefundRun, RefundRunLine, RunTotal
from app.models.suppression import SoftBounce, Suppression, SuppressionReason
from app.models.transaction import Dispute, Move, OutboxEntry, Refund, Transaction
from app.models.webhook import WebhookDelivery

#: Every kind of document.
RECORDS = (
    ApiKey,
    DashboardSession,
    HandledBounce,
    Erasure,
    IdempotencyRecord,
    Notification,
    OperatorAction,
    SoftBounce,
    Suppression,
    RefundRun,
    RefundRunLine,
    Transaction,
    WebhookDelivery,
)


def create_indexes() -> None:
    """Build missing indexes. May take minutes on large collections. Safe to repeat and to run concurrently.

    Raises:
        ServiceUnavailable: MongoDB is unavailable, or refused.
    """
    with storage_errors():
        for record in RECORDS:
            if record.missing_indexes():
                record.build_indexes()


def missing_indexes() -> list[str]:
    """Return the declared indexes that are missing in MongoDB."""
    return [name for record in RECORDS for name in record.missing_indexes()]


def obsolete_indexes() -> list[str]:
    """Return `collection.index` for each existing index that no query of this version needs."""
    return [
        f"{record._get_collection_name()}.{name}"
        for record in RECORDS
        for name in record.standing_obsolete_indexes()
    ]


def drop_obsolete_indexes() -> None:
    """Drop the indexes that no query of this version needs. Earlier versions refuse to start without them.

    Raises:
        ServiceUnavailable: MongoDB did not respond or refused, or a declared index is missing.
    """
    with storage_errors():
        for record in RECORDS:
            for name in record.standing_obsolete_indexes():
                record.drop_index(name)


__all__ = [
    "GRACE",
    "OUTAGES",
    "RECORDS",
    "ApiKey",
    "Attempt",
    "DashboardSession",
    "Dispute",
    "Erasure",
    "HandledBounce",
    "IdempotencyRecord",
    "Move",
    "Notification",
    "OperatorAction",
    "OutboxEntry",
    "Record",
    "Refund",
    "RefundRun",
    "RefundRunLine",
    "RunTotal",
    "SoftBounce",
    "Suppression",
    "SuppressionReason",
    "Transaction",
    "WebhookDelivery",
    "connect",
    "create_indexes",
    "database",
    "disconnect",
    "drop_obsolete_indexes",
    "missing_indexes",
    "obsolete_indexes",
    "storage_errors",
    "storage_writes",
]
