"""PaymentIntents: https://docs.stripe.com/api/payment_intents"""

from __future__ import annotations

from typing import Any

from devtools.stripe_simulator import currencies, payment_methods
from devtools.stripe_simulator.call import Call, new_id
from devtools.stripe_simulator.errors import StripeError, unexpected_state
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.paying import pay, raise_decline
from devtools.stripe_simulator.store import Record

#: Statuses in which each operation is allowed: https://docs.stripe.com/payments/paymentintents/lifecycle
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")
_CANCELABLE = (*_CONFIRMABLE, "processing")

_CANCELLATION_REASONS = ("duplicate", "fraudulent", "requested_by_customer", "abandoned")


def create(call: Call, params: Params) -> Record:
    """Create a PaymentIntent and, with `confirm`, try to pay it."""
    amount = params.required_integer("amount", least=1)
    currency = params.required("currency").lower()
    currencies.check(amount, currency)
    # Other values are not simulated: refuse them instead of ignoring them.
    params.choice("capture_method", ("automatic", "automatic_async"))
    params.choice("confirmation_method", ("automatic",))
    confirmed = params.flag("confirm")
    if "return_url" in params and not confirmed:
        raise StripeError(400, "return_url requires confirm=true.", param="return_url")
    intent = call.new(
        "payment_intent",
        "pi",
        amount=amount,
        amount_capturable=0,
        amount_received=0,
        canceled_at=None,
        cancellation_reason=None,
        capture_method="automatic",
        confirmation_method="automatic",
        currency=currency,
        customer=None,
        description=params.text("description"),
        last_payment_error=None,
        latest_charge=None,
        metadata=params.metadata(),
        next_action=None,
        payment_method=None,
        status="requires_payment_method",
        **_payment_method_types(params),
    )
    intent["client_secret"] = f"{intent['id']}_{new_id('secret')}"
    _take_method(call, intent, params)
    call.save(intent)
    return _confirm(call, intent, params) if confirmed else intent


def update(call: Call, params: Params, record_id: str) -> Record:
    """Change the description and the metadata. An empty value removes its key."""
    intent = call.get("payment_intent", record_id)
    if "description" in params:
        intent["description"] = params.text("description")
    intent["metadata"] = params.metadata(intent["metadata"])
    call.save(intent)
    return intent


def confirm(call: Call, params: Params, record_id: str) -> Record:
    """Try to pay a PaymentIntent."""
    intent = call.get("payment_intent", record_id)
    if intent["status"] not in _CONFIRMABLE:
        unexpected_state(intent, "confirm")
    _take_method(call, intent, params)
    return _confirm(call, intent, params)


def cancel(call: Call, params: Params, record_id: str) -> Record:
    """Cancel a PaymentIntent that has not succeeded."""
    intent = call.get("payment_intent", record_id)
    reason = params.choice("cancellation_reason", _CANCELLATION_REASONS)
    if intent["status"] not in _CANCELABLE:
        unexpected_state(intent, "cancel")
    intent |= {"status": "canceled", "canceled_at": call.now, "cancellation_reason": reason}
    intent["next_action"] = None
    call.save(intent)
    call.emit("payment_intent.canceled", intent)
    return intent


def _confirm(call: Call, intent: Record, params: Params) -> Record:
    method_id = intent["payment_method"]
    if method_id is None:
        raise StripeError(
            400,
            "A payment method is required to confirm this PaymentIntent.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )
    return_url = params.url("return_url")
    automatic = intent["automatic_payment_methods"]
    if automatic and automatic["allow_redirects"] == "always" and not return_url:
        raise StripeError(
            400,
            "automatic_payment_methods may redirect the customer. Send a return_url, or"
            " automatic_payment_methods[allow_redirects]=never.",
            param="return_url",
        )
    pay(call, intent, call.get("payment_method", method_id), return_url)
    raise_decline(intent)
    return intent


def _payment_method_types(params: Params) -> dict[str, Any]:
    automatic = params.group("automatic_payment_methods")
    if automatic.flag("enabled"):
        redirects = automatic.choice("allow_redirects", ("always", "never")) or "always"
        types = list(payment_methods.TYPES) if redirects == "always" else ["card"]
        enabled = {"enabled": True, "allow_redirects": redirects}
        return {"automatic_payment_methods": enabled, "payment_method_types": types}
    types = params.items("payment_method_types") or ["card"]
    if unknown := sorted(set(types) - set(payment_methods.TYPES)):
        raise StripeError(
            400,
            f"The payment method type {unknown[0]} is not simulated. Use card or paypal.",
            param="payment_method_types",
        )
    return {"automatic_payment_methods": None, "payment_method_types": types}


def _take_method(call: Call, intent: Record, params: Params) -> None:
    """Set the payment method in `params`, if any, on `intent`."""
    if "payment_method_data" in params:
        method = payment_methods.create(call, params.group("payment_method_data"))
    elif method_id := params.text("payment_method"):
        method = payment_methods.resolve(call, method_id, "payment_method")
    else:
        return
    if method["type"] not in intent["payment_method_types"]:
        raise StripeError(
            400,
            f"A PaymentMethod of type {method['type']} is not allowed for this PaymentIntent.",
            code="payment_intent_incompatible_payment_method",
            param="payment_method",
        )
    intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
