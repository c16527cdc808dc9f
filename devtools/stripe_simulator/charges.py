"""Charges, the attempts to move money: https://docs.stripe.com/api/charges"""

from __future__ import annotations

from typing import Any

from devtools.stripe_simulator.call import Call, new_id
from devtools.stripe_simulator.store import Record
from devtools.stripe_simulator.test_cards import Decline

_APPROVED = {
    "advice_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "seller_message": "Payment complete.",
    "type": "authorized",
}


def make(call: Call, intent: Record, method: Record, decline: Decline | None) -> Record:
    """Save the charge of an attempt to pay `intent` with `method`, which succeeds or is declined."""
    charge = call.new(
        "charge",
        "ch",
        amount=intent["amount"],
        amount_captured=0 if decline else intent["amount"],
        amount_refunded=0,
        captured=decline is None,
        currency=intent["currency"],
        description=intent["description"],
        disputed=False,
        failure_code=decline.code if decline else None,
        failure_message=decline.message if decline else None,
        metadata=intent["metadata"],
        outcome=_refused(decline) if decline else _APPROVED,
        paid=decline is None,
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=_details(method),
        refunded=False,
        status="failed" if decline else "succeeded",
    )
    call.save(charge)
    return charge


def _refused(decline: Decline) -> dict[str, Any]:
    return {
        "advice_code": decline.advice_code,
        "network_status": "declined_by_network",
        "reason": decline.decline_code,
        "risk_level": "normal",
        "seller_message": f"The bank returned the decline code {decline.decline_code}.",
        "type": "issuer_declined",
    }


def _details(method: Record) -> dict[str, Any]:
    kind = method["type"]
    details = dict(method[kind])
    if kind == "paypal":
        details["transaction_id"] = new_id("paypal").upper()
    return {"type": kind, kind: details}
