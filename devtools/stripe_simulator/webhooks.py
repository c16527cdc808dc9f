"""Signed webhooks: https://docs.stripe.com/webhooks"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from dataclasses import dataclass
from heapq import heappop, heappush

import requests

from devtools.stripe_simulator.store import Store

#: Seconds that the receiver has to respond.
_TIMEOUT_SECONDS = 10.0

#: Threads that deliver. A receiver that responds slowly to one event must not delay all others.
#: Stripe promises no order either: https://docs.stripe.com/webhooks#event-ordering
_THREADS = 4

#: Seconds before the second attempt, doubled for each further one up to the maximum.
_MIN_BACKOFF_SECONDS, _MAX_BACKOFF_SECONDS = 0.25, 30.0

#: An event is abandoned after this many attempts, about half an hour. Stripe retries for three days.
_MAX_ATTEMPTS = 64


@dataclass(frozen=True)
class Endpoint:
    """A webhook endpoint: its URL, and the secret (`whsec_…`) that signs events."""

    url: str
    secret: str


@dataclass(order=True, frozen=True)
class _Delivery:
    """An attempt, numbered from 1, due at a time of `time.monotonic`."""

    due: float
    attempt: int
    event_id: str


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """Return the header Stripe-Signature: https://docs.stripe.com/webhooks/signature"""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + payload, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


class Webhooks:
    """Delivers events to an endpoint in threads, until the process ends.

    Undelivered events, those with `pending_webhooks`, are in the store: a restart attempts them again.
    """

    def __init__(self, endpoint: Endpoint, store: Store) -> None:
        self._endpoint = endpoint
        self._store = store
        self._changed = threading.Condition()
        self._waiting: list[_Delivery] = []
        self.send(undelivered(store))
        for number in range(_THREADS):
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True).start()

    def send(self, event_ids: list[str]) -> None:
        """Schedule events for delivery, without waiting."""
        for event_id in event_ids:
            self._put(_Delivery(time.monotonic(), 1, event_id))

    def _put(self, delivery: _Delivery) -> None:
        with self._changed:
            heappush(self._waiting, delivery)
            self._changed.notify()

    def _take(self) -> _Delivery:
        """Wait for the next due delivery, and return it."""
        with self._changed:
            while not self._waiting or self._waiting[0].due > time.monotonic():
                self._changed.wait(self._waiting[0].due - time.monotonic() if self._waiting else None)
            return heappop(self._waiting)

    def _run(self) -> None:
        with requests.Session() as session:
            # The receiver runs on this machine, so no proxy is used.
            session.trust_env = False
            while True:
                delivery = self._take()
                attempt = delivery.attempt
                if self._deliver(session, delivery.event_id):
                    mark(self._store, delivery.event_id, 0)
                elif attempt < _MAX_ATTEMPTS:
                    backoff = min(_MAX_BACKOFF_SECONDS, _MIN_BACKOFF_SECONDS * 2.0 ** (attempt - 1))
                    self._put(_Delivery(time.monotonic() + backoff, attempt + 1, delivery.event_id))

    def _deliver(self, session: requests.Session, event_id: str) -> bool:
        """Attempt one event. Return whether it needs no further attempt."""
        event = self._store.get(event_id)
        if event is None:  # the simulator was reset
            return True
        # Signed with the real time, which the receiver compares with its own.
        payload = json.dumps(event).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(payload, self._endpoint.secret, int(time.time())),
        }
        try:
            response = session.post(
                self._endpoint.url, payload, headers=headers, timeout=_TIMEOUT_SECONDS, allow_redirects=False
            )
        except requests.RequestException:
            return False
        return 200 <= response.status_code < 300


def mark(store: Store, event_id: str, pending: int) -> None:
    """Set the number of pending deliveries of an event."""
    store.execute(
        "UPDATE objects SET body = json_set(body, '$.pending_webhooks', ?) WHERE id = ?", (pending, event_id)
    )


def undelivered(store: Store) -> list[str]:
    """Return the ids of undelivered events, abandoned ones included, oldest first."""
    condition = "object = 'event' AND json_extract(body, '$.pending_webhooks') > 0 ORDER BY seq"
    return [event["id"] for event in store.select(condition, ())]
