"""Refunds: https://docs.stripe.com/api/refunds"""

from __future__ import annotations

from devtools.stripe_simulator import disputes
from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import ExecutionError, StripeError
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.store import Record
from devtools.stripe_simulator.test_cards import card_of

_REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(call: Call, params: Params) -> Record:
    """Refund a part of a charge, or the rest."""
    amount = params.integer("amount", least=1)
    reason, metadata = params.choice("reason", _REASONS), params.metadata()
    charge = _charge_of(call, params)
    left = charge["amount"] - charge["amount_refunded"]
    if disputes.forbids_refund(call, charge):
        raise ExecutionError(
            400, "The charge can't be refunded because it is disputed.", code="charge_disputed"
        )
    if left == 0:
        raise ExecutionError(400, "The charge has already been refunded.", code="charge_already_refunded")
    if amount is not None and amount > left:
        raise ExecutionError(
            400, f"amount must be at most {left}, the unrefunded amount of the charge.", param="amount"
        )
    refund = call.new(
        "refund",
        "re",
        amount=amount or left,
        charge=charge["id"],
        currency=charge["currency"],
        metadata=metadata,
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="pending" if call.pending else _first_status(charge),
    )
    if refund["status"] == "pending":
        refund["pending_reason"] = "processing"
    _move(charge, refund["amount"])
    call.save(charge, refund)
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge)
    return refund


def succeed(call: Call, refund_id: str) -> Record:
    """Let a pending refund succeed."""
    refund = _in_status(call, refund_id, ("pending",))
    refund["status"] = "succeeded"
    refund.pop("pending_reason")
    call.save(refund)
    call.emit("refund.updated", refund)
    return refund


def fail(call: Call, refund_id: str) -> Record:
    """Let a refund fail, even one that had succeeded: a bank can return the money days later."""
    refund = _in_status(call, refund_id, ("pending", "succeeded"))
    charge = call.get("charge", refund["charge"])
    refund.pop("pending_reason", None)
    refund |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
    _move(charge, -refund["amount"])
    call.save(charge, refund)
    call.emit("refund.updated", refund)
    call.emit("refund.failed", refund)
    return refund


def _charge_of(call: Call, params: Params) -> Record:
    """Return the charge that `params` name. It must have succeeded."""
    if charge_id := params.text("charge"):
        charge = call.get("charge", charge_id, "charge")
    elif intent_id := params.text("payment_intent"):
        intent = call.get("payment_intent", intent_id, "payment_intent")
        charge = call.get("charge", intent["latest_charge"]) if intent["status"] == "succeeded" else {}
    else:
        raise StripeError(400, "Either payment_intent or charge is required.", code="parameter_missing")
    if charge.get("status") != "succeeded":
        raise ExecutionError(400, "There is no successful charge to refund.")
    return charge


def _first_status(charge: Record) -> str:
    card = charge["payment_method_details"].get("card")
    return card_of(card["brand"], card["last4"]).refund if card else "succeeded"


def _move(charge: Record, amount: int) -> None:
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount"]


def _in_status(call: Call, refund_id: str, statuses: tuple[str, ...]) -> Record:
    refund = call.get("refund", refund_id)
    if refund["status"] not in statuses:
        raise StripeError(
            400, f"The status of the refund must be {' or '.join(statuses)}, not {refund['status']}."
        )
    return refund
