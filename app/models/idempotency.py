"""The final response to each Idempotency-Key, kept for a day."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import BinaryField, DateTimeField, DictField, IntField, StringField

from app.models.database import Record

KEPT_SECONDS = 24 * 3600


class IdempotencyRecord(Record):
    """An Idempotency-Key: a claim while its request runs, and then the response to that request.

    The semantics follow draft-ietf-httpapi-idempotency-key-header.
    """

    #: Hash of the API key and the Idempotency-Key. Idempotency-Keys are scoped to the API key.
    id = StringField(primary_key=True)
    #: Keyed hash of the request's method, path, and body without the card's security code, to refuse the
    #: same key for a different request.
    fingerprint = StringField(required=True)
    #: Id of the first request's payment or refund. The claim sets it, so that recovery can look up the
    #: outcome after a crash.
    transaction_id = StringField(required=True)
    #: The attempt that holds the claim. Only this attempt stores the response.
    owner = StringField()
    claimed_at = DateTimeField(required=True)
    created_at = DateTimeField(required=True)

    #: HTTP status of the stored response.
    status = IntField()
    headers = DictField()
    body = BinaryField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "idempotency_keys",
        "indexes": [{"fields": ["created_at"], "expireAfterSeconds": KEPT_SECONDS}],
    }
