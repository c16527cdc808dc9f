"""The Stripe simulator for tests: one process for a run, told apart by transaction ids."""

from __future__ import annotations

from typing import Any

import requests


class StripeSimulator:
    """A running simulator, seen from a test."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def settings(self) -> dict[str, Any]:
        """What makes a `Settings` pay here."""
        return {"payment_gateway_url": self.url}

    def charges(self, transaction_id: str | None = None) -> list[dict[str, Any]]:
        """Charges that succeeded, of one transaction or of all."""
        state = requests.get(f"{self.url}/_simulator/state", timeout=30).json()
        return [
            charge
            for charge in state["charges"]
            if charge["status"] == "succeeded"
            and transaction_id in (None, charge["metadata"].get("transaction_id"))
        ]

    def intent(self, transaction_id: str) -> dict[str, Any]:
        """The PaymentIntent of one transaction."""
        state = requests.get(f"{self.url}/_simulator/state", timeout=30).json()
        [found] = (
            intent
            for intent in state["payment_intents"]
            if intent["metadata"].get("transaction_id") == transaction_id
        )
        intent: dict[str, Any] = found
        return intent

    def fault(self, **fault: Any) -> None:
        """Inject a fault into the next matching request."""
        requests.post(f"{self.url}/_simulator/faults", json=fault, timeout=30).raise_for_status()

    def clear_faults(self) -> None:
        """Forget faults that were not met."""
        requests.delete(f"{self.url}/_simulator/faults", timeout=30).raise_for_status()
