"""MongoEngine documents and their indexes."""

from app.models.database import connect, database, disconnect, storage_errors
from app.models.idempotency import IdempotencyRecord
from app.models.notification import Attempt, Notification
from app.models.transaction import Move, OutboxEntry, Refund, Transaction

__all__ = [
    "Attempt",
    "IdempotencyRecord",
    "Move",
    "Notification",
    "OutboxEntry",
    "Refund",
    "Transaction",
    "connect",
    "database",
    "disconnect",
    "storage_errors",
]
