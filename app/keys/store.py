"""Create, list and revoke API keys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from app.clock import utcnow
from app.ids import new_id
from app.keys.scopes import SCOPES
from app.models import ApiKey, DashboardSession, storage_errors


def create_key(name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
    """Create a key.

    Returns:
        The stored key and its token. Only the token's hash is stored.

    Raises:
        ValueError: a scope is unknown.
        ServiceUnavailable: MongoDB is unavailable.
    """
    if unknown := set(scopes) - set(SCOPES):
        raise ValueError(f"unknown scopes: {', '.join(sorted(unknown))}; use only {', '.join(SCOPES)}")
    key_id = new_id("key_")
    token = f"mk_{key_id.removeprefix('key_')}_{secrets.token_urlsafe(32)}"
    key = ApiKey(id=key_id, name=name, token_hash=hash_token(token), scopes=list(scopes), created_at=utcnow())
    with storage_errors():
        key.insert()
    return key, token


def revoke_key(key_id: str) -> bool:
    """Revoke a key and end its dashboard sessions. Return False if no valid key has that id."""
    with storage_errors():
        revoked = bool(ApiKey.objects(id=key_id, revoked_at=None).update_one(set__revoked_at=utcnow()))
        DashboardSession.objects(key_id=key_id).delete()
    return revoked


def list_keys() -> list[ApiKey]:
    """Return every key, newest first.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    with storage_errors():
        return list(ApiKey.objects.order_by("-created_at"))


def find_in_force(key_id: str) -> ApiKey | None:
    """Return the key with that id unless it is revoked.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    with storage_errors():
        key: ApiKey | None = ApiKey.objects(id=key_id, revoked_at=None).first()
    return key


def hash_token(token: str) -> str:
    """Return the SHA-256 of `token` in hexadecimal, as it is stored."""
    return hashlib.sha256(token.encode()).hexdigest()
