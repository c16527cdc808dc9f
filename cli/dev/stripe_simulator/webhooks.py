"""Signed webhooks, delivered from a thread of their own: https://docs.stripe.com/webhooks/signature"""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import threading
import time
from typing import Any

import requests

#: Seconds between the tries to deliver one event; Stripe goes on for days.
_BACKOFF = (0.2, 0.5, 1, 2, 5, 10, 30)


def signature(payload: str, secret: str, timestamp: int) -> str:
    """The header Stripe-Signature for `payload`."""
    mac = hmac.new(secret.encode(), f"{timestamp}.{payload}".encode(), hashlib.sha256)
    return f"t={timestamp},v1={mac.hexdigest()}"


class Webhooks:
    """Delivers events to one endpoint. Never delays an answer of the API."""

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._queue: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="webhooks", daemon=True).start()

    def submit(self, event: dict[str, Any]) -> None:
        """Deliver `event` soon."""
        self._queue.put(event)

    def _run(self) -> None:
        while True:
            event = self._queue.get()
            for seconds in _BACKOFF:
                if self._deliver(event):
                    break
                time.sleep(seconds)

    def _deliver(self, event: dict[str, Any]) -> bool:
        payload = json.dumps(event)
        headers = {
            "Content-Type": "application/json",
            "Stripe-Signature": signature(payload, self._secret, int(time.time())),
        }
        try:
            return requests.post(self._url, data=payload, headers=headers, timeout=10).ok
        except requests.RequestException:
            return False
