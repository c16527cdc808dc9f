"""The API calls of Stripe.js in a browser, with a publishable key and a client secret.

Source: https://docs.stripe.com/js/payment_intents and https://docs.stripe.com/keys
"""

from __future__ import annotations

import hmac

from devtools.stripe_simulator import intents
from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import ExecutionError, StripeError, no_such
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.store import Record

#: Members of a PaymentIntent that only the shop may see.
_FOR_THE_SHOP = ("customer", "latest_charge", "metadata")


def retrieve(call: Call, params: Params, record_id: str) -> Record:
    """Return a PaymentIntent to a browser with its client secret."""
    return _for_browser(_intent(call, params, record_id))


def confirm(call: Call, params: Params, record_id: str) -> Record:
    """Try to pay a PaymentIntent with the customer's details."""
    _intent(call, params, record_id)
    try:
        return _for_browser(intents.confirm(call, params, record_id))
    except ExecutionError as error:
        details = error.body["error"]
        details["payment_intent"] = _for_browser(details["payment_intent"])
        raise


def refuse_publishable_key() -> StripeError:
    """Return the error for a publishable key where a secret key is required."""
    return StripeError(
        401,
        "This API call cannot be made with a publishable API key. Use a secret API key.",
        code="secret_key_required",
    )


def _intent(call: Call, params: Params, record_id: str) -> Record:
    intent = call.get("payment_intent", record_id, "intent")
    if not hmac.compare_digest(params.required("client_secret"), intent["client_secret"]):
        raise no_such("payment_intent", record_id, "intent")
    return intent


def _for_browser(intent: Record) -> Record:
    return {name: value for name, value in intent.items() if name not in _FOR_THE_SHOP}
