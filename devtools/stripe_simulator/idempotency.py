"""Idempotency keys: https://docs.stripe.com/api/idempotent_requests"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devtools.stripe_simulator.clock import Clock
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.forms import without_card_number
from devtools.stripe_simulator.store import Store

#: Seconds that a key is kept.
_KEPT_SECONDS = 24 * 3600

_MAX_KEY_LENGTH = 255


@dataclass(frozen=True)
class StoredResponse:
    """A stored HTTP response.

    Attributes:
        request_id: id of the original request.
    """

    status: int
    body: str
    request_id: str


@dataclass(frozen=True)
class Claim:
    """A key held by one running request. A request without a key runs, and nothing is stored.

    Attributes:
        key: None for no key.
        stored: the response to the first request with this key, if there was one.
    """

    key: str | None = None
    stored: StoredResponse | None = None
    _store: Store | None = None
    _row: tuple[Any, ...] = ()

    def keep(self, response: StoredResponse) -> None:
        """Store a response, in one transaction with the changes that it reports."""
        if self._store is None:
            return
        row = (*self._row, response.request_id, response.status, response.body)
        self._store.execute(
            "INSERT INTO answers (account, key, fingerprint, created, request, status, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            row,
        )


class Idempotency:
    """The keys in use and the stored responses. A key belongs to one API key."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[tuple[str, str]] = set()

    @contextmanager
    def claim(self, api_key: str, key: str | None, path: str, params: dict[str, Any]) -> Iterator[Claim]:
        """Hold `key` while its request runs.

        Raises:
            StripeError: another request with it is running (409), it was used with other parameters or for
                something else (400), or it is too long.
        """
        if not key:
            yield Claim()
            return
        if len(key) > _MAX_KEY_LENGTH:
            raise StripeError(400, f"The idempotency key must have at most {_MAX_KEY_LENGTH} characters.")
        account = _digest(api_key)
        fingerprint = _digest(json.dumps([path, without_card_number(params)], sort_keys=True))
        now = self._clock.now()
        with self._lock:
            # Both checks under one lock: a request that ends between them would run twice.
            stored = self._find(account, key, fingerprint, now)
            if stored is None:
                if (account, key) in self._running:
                    raise StripeError(
                        409,
                        "Another request with this idempotency key is in progress. Try again later.",
                        kind="idempotency_error",
                        code="idempotency_key_in_use",
                    )
                self._running.add((account, key))
        try:
            yield Claim(key, stored, self._store, (account, key, fingerprint, now))
        finally:
            if stored is None:
                with self._lock:
                    self._running.discard((account, key))

    def _find(self, account: str, key: str, fingerprint: str, now: int) -> StoredResponse | None:
        self._store.execute("DELETE FROM answers WHERE created <= ?", (now - _KEPT_SECONDS,))
        rows = self._store.execute(
            "SELECT fingerprint, status, body, request FROM answers WHERE account = ? AND key = ?",
            (account, key),
        )
        for seen, *response in rows:
            if seen != fingerprint:
                raise StripeError(
                    400,
                    "The idempotency key was used with other parameters. Use a new key.",
                    kind="idempotency_error",
                )
            return StoredResponse(*response)
        return None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
