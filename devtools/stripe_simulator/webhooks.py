"""Signed webhooks, sent by threads of their own: https://docs.stripe.com/webhooks"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import queue
import threading
import time
from dataclasses import dataclass

import requests

from devtools.stripe_simulator.outbox import Delivery, Outbox

#: Seconds that the receiver has to answer.
_TIMEOUT = 10.0

#: One that answers slowly must not hold back all others. Stripe promises no order either.
_THREADS = 4


@dataclass(frozen=True)
class Endpoint:
    """Where events are sent, and the secret (`whsec_…`) that signs them."""

    url: str
    secret: str


def signature(payload: bytes, secret: str, timestamp: int) -> str:
    """The header Stripe-Signature: https://docs.stripe.com/webhooks/signature"""
    mac = hmac.new(secret.encode(), f"{timestamp}.".encode() + payload, hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


class Webhooks:
    """Empties an outbox into an endpoint, from now on and until the process ends."""

    def __init__(self, endpoint: Endpoint, outbox: Outbox) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()
        for number in range(_THREADS):
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True).start()

    def wake(self, count: int) -> None:
        """Say that `count` events were added. Never waits."""
        for _ in range(count):
            self._wake.put(None)

    def _run(self) -> None:
        with requests.Session() as session:
            # The receiver is near; the machine's proxy is not meant.
            session.trust_env = False
            while True:
                delivery = self._outbox.take()
                if delivery is None:
                    with contextlib.suppress(queue.Empty):
                        self._wake.get(timeout=self._outbox.next_due())
                elif self._deliver(session, delivery):
                    self._outbox.delivered(delivery)
                else:
                    self._outbox.failed(delivery)

    def _deliver(self, session: requests.Session, delivery: Delivery) -> bool:
        # Signed with the real time, which the receiver compares with its own.
        payload = json.dumps(delivery.event).encode()
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            "Stripe-Signature": signature(payload, self._endpoint.secret, int(time.time())),
        }
        try:
            answer = session.post(
                self._endpoint.url, payload, headers=headers, timeout=_TIMEOUT, allow_redirects=False
            )
        except requests.RequestException:
            return False
        return 200 <= answer.status_code < 300
