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
    "database",
    "disconnect",
    "storage_errors",
    "storage_writes",
]
