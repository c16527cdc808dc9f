"""Store of claims in MongoDB. A unique index decides which claim is first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pymongo.errors

from app.idempotency import Claim, StoredResponse
from app.models import IdempotencyRecord, storage_errors, storage_writes

if TYPE_CHECKING:
    from datetime import datetime


class MongoClaimStore:
    """A `ClaimStore` in MongoDB, on the connection of `app.models.connect`. Stateless."""

    def insert(self, claim: Claim) -> bool:
        document = {
            "_id": claim.id,
            "fingerprint": claim.fingerprint,
            "transaction_id": claim.transaction_id,
            "owner": claim.owner,
            "claimed_at": claim.claimed_at,
            "created_at": claim.created_at,
        }
        with storage_writes():
            try:
                IdempotencyRecord.collection().insert_one(document)
            except pymongo.errors.DuplicateKeyError:
                return False
        return True

    def find(self, claim_id: str) -> Claim | None:
        with storage_errors():
            document = IdempotencyRecord.collection().find_one({"_id": claim_id})
        return None if document is None else _claim(document)

    def replace(self, claim: Claim, **fields: object) -> bool:
        changes = dict(fields)
        response = changes.pop("response", None)
        if isinstance(response, StoredResponse):
            changes |= {
                "status": response.status,
                "headers": dict(response.headers),
                "body": response.body,
            }
        with storage_writes():
            return IdempotencyRecord.compare_and_set(_unfinished(claim), {"$set": changes})

    def remove(self, claim: Claim) -> bool:
        with storage_writes():
            return bool(IdempotencyRecord.collection().delete_one(_unfinished(claim)).deleted_count)

    def remove_expired(self, claim_id: str, before: datetime) -> None:
        with storage_writes():
            IdempotencyRecord.collection().delete_one({"_id": claim_id, "created_at": {"$lt": before}})


def _unfinished(claim: Claim) -> dict[str, Any]:
    # Records of older versions have no owner; null matches those.
    return {"_id": claim.id, "owner": claim.owner or None, "status": None}


def _claim(document: dict[str, Any]) -> Claim:
    response = None
    if document.get("status") is not None:
        response = StoredResponse(document["status"], document["headers"], bytes(document["body"]))
    return Claim(
        document["_id"],
        document["fingerprint"],
        document["transaction_id"],
        document.get("owner") or "",
        document["claimed_at"],
        document["created_at"],
        response,
    )
