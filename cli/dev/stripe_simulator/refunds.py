"""Refunds: https://docs.stripe.com/api/refunds"""

from __future__ import annotations

from typing import Any

from cli.dev.stripe_simulator.errors import StripeFault, missing, positive_integer
from cli.dev.stripe_simulator.simulator import Simulator


def create(sim: Simulator, params: dict[str, Any]) -> dict[str, Any]:
    """Refund a charge, in part or what is left of it."""
    charge = _charge_of(sim, params)
    left = charge["amount"] - charge["amount_refunded"]
    if left == 0:
        raise StripeFault(400, "The charge has already been refunded.", code="charge_already_refunded")
    amount = positive_integer(params, "amount") if "amount" in params else left
    if amount > left:
        raise StripeFault(400, f"Refund amount is greater than what is left, {left}.", param="amount")
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]
    refund = {
        "id": sim.new_id("re"),
        "object": "refund",
        "amount": amount,
        "charge": charge["id"],
        "created": sim.now(),
        "currency": charge["currency"],
        "metadata": params.get("metadata", {}),
        "payment_intent": charge["payment_intent"],
        "reason": params.get("reason"),
        "status": "succeeded",
    }
    sim.store.put(charge)
    sim.store.put(refund)
    sim.emit("charge.refunded", charge)
    sim.emit("refund.updated", refund)
    return refund


def retrieve(sim: Simulator, refund_id: str, _params: dict[str, Any]) -> dict[str, Any]:
    """The refund with that id."""
    refund = sim.store.get(refund_id)
    if refund is None or refund["object"] != "refund":
        raise missing("refund", refund_id)
    return refund


def listing(sim: Simulator, params: dict[str, Any]) -> dict[str, Any]:
    """Refunds, newest first, of one PaymentIntent or of all."""
    wanted = params.get("payment_intent")
    found = [refund for refund in sim.store.all("refund") if wanted in (None, refund["payment_intent"])]
    return sim.page(found, params, "/v1/refunds")


def fail(sim: Simulator, refund_id: str) -> dict[str, Any]:
    """Let a refund that succeeded fail later, as when a bank sends the money back."""
    refund = retrieve(sim, refund_id, {})
    charge = sim.store.get(refund["charge"])
    if refund["status"] != "succeeded" or charge is None:
        raise StripeFault(400, f"The refund is {refund['status']}.")
    charge |= {"amount_refunded": charge["amount_refunded"] - refund["amount"], "refunded": False}
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    sim.store.put(charge)
    sim.store.put(refund)
    sim.emit("refund.failed", refund)
    return refund


def _charge_of(sim: Simulator, params: dict[str, Any]) -> dict[str, Any]:
    charge_id = params.get("charge")
    intent_id = params.get("payment_intent")
    if intent_id:
        intent = sim.store.get(intent_id)
        charge_id = intent and intent["status"] == "succeeded" and intent["latest_charge"]
    charge = sim.store.get(charge_id) if charge_id else None
    if charge is None or charge["object"] != "charge" or charge["status"] != "succeeded":
        raise missing("charge", str(charge_id or intent_id))
    return charge
