"""The final response to each Idempotency-Key, kept for a day."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import BinaryField, DateTimeField, DictField, IntField, StringField

from app.models.database import Record

KEPT_SECONDS = 24 * 3600


class IdempotencyRecord(Record):
    """A claim on a key while a request runs, its response afterwards.

    Source of the semantics: draft-ietf-httpapi-idempotency-key-header.
    """

    #: Hash of the caller and the key: a key belongs to the API key it came with.
    id = StringField(primary_key=True)
    #: Hash of method, path and body: the same key with another request is a mistake of the client.
    fingerprint = StringField(required=True)
    #: The transaction that the first request makes, chosen with the claim: after a crash it can be looked up.
    transaction_id = StringField(required=True)
    #: Names the attempt that holds the claim: only it stores the response.
    owner = StringField()
    claimed_at = DateTimeField(required=True)
    created_at = DateTimeField(required=True)

    status = IntField()
    headers = DictField()
    body = BinaryField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "idempotency_keys",
        "indexes": [{"fields": ["created_at"], "expireAfterSeconds": KEPT_SECONDS}],
    }
