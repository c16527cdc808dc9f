"""Disputes, which banks open and close: https://docs.stripe.com/api/disputes"""

from __future__ import annotations

from devtools.stripe_simulator.call import Call, new_id
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.store import Record

REASONS = ("fraudulent", "duplicate", "product_not_received", "product_unacceptable", "general")

#: Statuses of an open dispute: https://docs.stripe.com/disputes/how-disputes-work
OPEN = ("needs_response", "under_review", "warning_needs_response", "warning_under_review")
VERDICTS = ("lost", "won", "warning_closed")

#: Seconds from the dispute to the deadline for evidence. Networks give 7 to 21 days.
_TIME_FOR_EVIDENCE_SECONDS = 14 * 86_400


def open_dispute(call: Call, charge_id: str, reason: str, *, inquiry: bool = False) -> Record:
    """Let the bank dispute a charge, for one of `REASONS`.

    Args:
        inquiry: the bank asks first. No funds are withdrawn, and the charge can still be refunded.

    Raises:
        StripeError: the charge did not succeed, or is disputed already.
    """
    charge = call.get("charge", charge_id)
    if charge["status"] != "succeeded" or charge["disputed"]:
        raise StripeError(400, "Only a successful charge without an earlier dispute can be disputed.")
    dispute = call.new(
        "dispute",
        "dp",
        amount=charge["amount"],
        balance_transactions=[],
        charge=charge_id,
        currency=charge["currency"],
        evidence_details={
            "due_by": call.now + _TIME_FOR_EVIDENCE_SECONDS,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        is_charge_refundable=inquiry,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="warning_needs_response" if inquiry else "needs_response",
    )
    charge["disputed"] = True
    call.save(charge, dispute)
    call.emit("charge.dispute.created", dispute)
    if not inquiry:
        _move_funds(call, dispute, -dispute["amount"], "charge.dispute.funds_withdrawn")
    return dispute


def update_dispute(call: Call, charge_id: str, status: str) -> Record:
    """Set another status of `OPEN`, for example after evidence was submitted.

    Raises:
        StripeError: the charge has no open dispute.
    """
    dispute = _open_dispute_of(call, charge_id)
    withdraws = dispute["is_charge_refundable"] and not status.startswith("warning_")
    dispute["status"] = status
    if status.endswith("under_review"):
        dispute["evidence_details"] |= {"has_evidence": True, "submission_count": 1}
    dispute["is_charge_refundable"] = status.startswith("warning_")
    call.save(dispute)
    call.emit("charge.dispute.updated", dispute)
    if withdraws:
        _move_funds(call, dispute, -dispute["amount"], "charge.dispute.funds_withdrawn")
    return dispute


def close_dispute(call: Call, charge_id: str, verdict: str) -> Record:
    """Let the bank decide for the shop (`won`), for the customer (`lost`), or drop its inquiry.

    Raises:
        StripeError: the charge has no open dispute.
    """
    dispute = _open_dispute_of(call, charge_id)
    dispute["status"] = verdict
    call.save(dispute)
    call.emit("charge.dispute.closed", dispute)
    if verdict == "won" and dispute["balance_transactions"]:
        _move_funds(call, dispute, dispute["amount"], "charge.dispute.funds_reinstated")
    return dispute


def forbids_refund(call: Call, charge: Record) -> bool:
    """Return whether a dispute holds the funds of a charge."""
    disputes = call.store.select("object = 'dispute' AND json_extract(body, '$.charge') = ?", (charge["id"],))
    return any(not dispute["is_charge_refundable"] for dispute in disputes)


def _open_dispute_of(call: Call, charge_id: str) -> Record:
    call.get("charge", charge_id)
    for dispute in call.store.all("dispute"):
        if dispute["charge"] == charge_id and dispute["status"] in OPEN:
            return dispute
    raise StripeError(400, "The charge has no open dispute.")


def _move_funds(call: Call, dispute: Record, amount: int, event_type: str) -> None:
    """Record a movement of the account's balance, in minor units, and emit its event."""
    movement = {"id": new_id("txn"), "object": "balance_transaction", "amount": amount, "type": "adjustment"}
    dispute["balance_transactions"].append(movement)
    call.save(dispute)
    call.emit(event_type, dispute)
