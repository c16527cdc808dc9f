"""Early fraud warnings of card networks: https://docs.stripe.com/api/radar/early_fraud_warnings"""

from __future__ import annotations

from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.store import Record


def create(call: Call, charge_id: str) -> Record:
    """Let the card's network suspect that a charge is fraudulent.

    Raises:
        StripeError: the charge did not succeed.
    """
    charge = call.get("charge", charge_id)
    if charge["status"] != "succeeded":
        raise StripeError(400, "Only a successful charge can have a fraud warning.")
    warning = call.new(
        "radar.early_fraud_warning",
        "issfr",
        # A charge that is refunded or disputed needs no action.
        actionable=not charge["refunded"] and not charge["disputed"],
        charge=charge_id,
        fraud_type="unauthorized_use_of_card",
        payment_intent=charge["payment_intent"],
    )
    call.save(warning)
    call.emit("radar.early_fraud_warning.created", warning)
    return warning
