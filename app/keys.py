"""Making, checking and revoking API keys."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import threading
import time
from collections.abc import Callable, Sequence

from app.clock import utcnow
from app.ids import new_id
from app.models import ApiKey, storage_errors

#: `mk_`, the public id without its prefix, and the secret.
_TOKEN = re.compile(r"mk_([0-9a-f]{32})_[A-Za-z0-9_-]{43}")

#: Seconds that an answer is remembered: a revocation takes effect within this time in every process.
_REMEMBERED = 30.0

#: Tokens remembered; beyond it everything is forgotten, so that guessing can't fill the memory.
_MOST = 10_000


def create_key(name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
    """Make a key.

    Returns:
        The key as stored, and its token, which is known to nobody afterwards.
    """
    key_id = new_id("key_")
    token = f"mk_{key_id.removeprefix('key_')}_{secrets.token_urlsafe(32)}"
    key = ApiKey(id=key_id, name=name, token_hash=_hash(token), scopes=list(scopes), created_at=utcnow())
    with storage_errors():
        key.insert()
    return key, token


def revoke_key(key_id: str) -> bool:
    """Revoke a key; False if there is none in force with that id."""
    with storage_errors():
        return bool(ApiKey.objects(id=key_id, revoked_at=None).update_one(set__revoked_at=utcnow()))


def list_keys() -> list[ApiKey]:
    """Every key, newest first.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    with storage_errors():
        return list(ApiKey.objects.order_by("-created_at"))


class Keyring:
    """Finds the key of a token, and remembers it for half a minute."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[float, ApiKey | None]] = {}

    def find(self, token: str) -> ApiKey | None:
        """The key in force that `token` is of.

        Raises:
            ServiceUnavailable: MongoDB did not answer.
        """
        named = _TOKEN.fullmatch(token)
        if named is None:
            return None
        digest = _hash(token)

        def matching() -> ApiKey | None:
            key = _in_force(f"key_{named[1]}")
            return key if key and hmac.compare_digest(key.token_hash, digest) else None

        return self._remember(digest, matching)

    def get(self, key_id: str) -> ApiKey | None:
        """The key in force with that id, for one whose token was seen before.

        Raises:
            ServiceUnavailable: MongoDB did not answer.
        """
        return self._remember(key_id, lambda: _in_force(key_id))

    def _remember(self, name: str, look_up: Callable[[], ApiKey | None]) -> ApiKey | None:
        now = time.monotonic()
        with self._lock:
            until, key = self._seen.get(name, (0.0, None))
        if now < until:
            return key
        key = look_up()
        with self._lock:
            if len(self._seen) >= _MOST:
                self._seen.clear()
            self._seen[name] = (now + _REMEMBERED, key)
        return key


def _in_force(key_id: str) -> ApiKey | None:
    with storage_errors():
        key: ApiKey | None = ApiKey.objects(id=key_id, revoked_at=None).first()
    return key


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
