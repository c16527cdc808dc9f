"""Disputes, which banks open and close: https://docs.stripe.com/api/disputes"""

from __future__ import annotations

from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.store import Record

REASONS = ("fraudulent", "duplicate", "product_not_received", "product_unacceptable", "general")
VERDICTS = ("lost", "won")


def open_dispute(call: Call, charge_id: str, reason: str) -> Record:
    """Let the bank take the money of a charge back, for one of `REASONS`.

    Raises:
        StripeError: the charge did not succeed, or is disputed already.
    """
    charge = call.get("charge", charge_id)
    if charge["status"] != "succeeded" or charge["disputed"]:
        raise StripeError(400, "Only a successful charge can be disputed, and only once.")
    dispute = call.new(
        "dispute",
        "dp",
        amount=charge["amount"],
        charge=charge_id,
        currency=charge["currency"],
        is_charge_refundable=False,
        metadata={},
        payment_intent=charge["payment_intent"],
        reason=reason,
        status="needs_response",
    )
    charge["disputed"] = True
    call.save(charge, dispute)
    call.emit("charge.dispute.created", dispute)
    return dispute


def close_dispute(call: Call, charge_id: str, verdict: str) -> Record:
    """Let the bank decide, for you (`won`) or for the customer (`lost`).

    Raises:
        StripeError: there is no open dispute of this charge.
    """
    call.get("charge", charge_id)
    for dispute in call.store.all("dispute"):
        if dispute["charge"] == charge_id and dispute["status"] == "needs_response":
            dispute["status"] = verdict
            call.save(dispute)
            call.emit("charge.dispute.closed", dispute)
            return dispute
    raise StripeError(400, "The charge has no open dispute.")
