"""The final response to each Idempotency-Key, kept for a day."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import BinaryField, DateTimeField, DictField, IntField, StringField

from app.models.database import Record

KEPT_SECONDS = 24 * 3600


class IdempotencyRecord(Record):
    """An Idempotency-Key: a claim while its request runs, the response afterwards.

    Source of the semantics: draft-ietf-httpapi-idempotency-key-header.
    """

    #: Hash of the API key and the idempotency key, which is scoped to it.
    id = StringField(primary_key=True)
    #: Hash of method, path, and body, to refuse the same key with another request.
    fingerprint = StringField(required=True)
    #: The id of the first request's transaction, chosen with the claim so that it can be looked up after a
    #: crash.
    transaction_id = StringField(required=True)
    #: The attempt that holds the claim. Only this attempt stores the response.
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
