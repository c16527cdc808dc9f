"""API keys and their scopes. Only hashes of tokens are stored."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, ListField, StringField

from app.models.database import Record


class ApiKey(Record):
    """An API key, identified by its public id (`key_…`)."""

    id = StringField(primary_key=True)
    #: Name that the operator chose.
    name = StringField(required=True, max_length=100)
    #: SHA-256 of the whole token. A slow hash would add nothing, because the token has 256 random bits.
    token_hash = StringField(required=True)
    #: Operations that the key allows, for example `payments:read`.
    scopes = ListField(StringField(), required=True)
    created_at = DateTimeField(required=True)
    #: Unset while the key is valid.
    revoked_at = DateTimeField()

    meta: ClassVar[dict[str, Any]] = {"collection": "api_keys"}
