"""PaymentIntents and their charges: https://docs.stripe.com/payments/paymentintents/lifecycle"""

from __future__ import annotations

from typing import Any

from cli.dev.stripe_simulator.errors import StripeFault, missing, positive_integer, required
from cli.dev.stripe_simulator.forms import as_list
from cli.dev.stripe_simulator.simulator import Simulator
from cli.dev.stripe_simulator.test_cards import CARDS, MESSAGES, TestCard

#: From https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts, for the commonest currency.
_SMALLEST = {"usd": 50}

_CONFIRMABLE = ("requires_payment_method", "requires_confirmation")
_CANCELABLE = (*_CONFIRMABLE, "requires_action", "processing")


def create(sim: Simulator, params: dict[str, Any]) -> dict[str, Any]:
    """Create a PaymentIntent and, with `confirm`, try to pay it."""
    amount = positive_integer(params, "amount")
    currency = str(required(params, "currency")).lower()
    if amount < _SMALLEST.get(currency, 1):
        raise StripeFault(400, "Amount is below the minimum.", code="amount_too_small", param="amount")
    intent_id = sim.new_id("pi")
    intent: dict[str, Any] = {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_received": 0,
        "cancellation_reason": None,
        "client_secret": f"{intent_id}_secret_{sim.new_id('s')[2:]}",
        "created": sim.now(),
        "currency": currency,
        "description": params.get("description"),
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": params.get("metadata", {}),
        "next_action": None,
        "payment_method": None,
        "payment_method_types": as_list(params.get("payment_method_types")) or ["card"],
        "status": "requires_payment_method",
    }
    _take_method(intent, params)
    if params.get("confirm") == "true":
        return _pay(sim, intent, params)
    sim.store.put(intent)
    return intent


def retrieve(sim: Simulator, intent_id: str, _params: dict[str, Any]) -> dict[str, Any]:
    """The PaymentIntent with that id."""
    intent = sim.store.get(intent_id)
    if intent is None or intent["object"] != "payment_intent":
        raise missing("payment_intent", intent_id)
    return intent


def confirm(sim: Simulator, intent_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Try to pay a PaymentIntent."""
    intent = retrieve(sim, intent_id, params)
    _must_be(intent, _CONFIRMABLE, "confirm")
    _take_method(intent, params)
    return _pay(sim, intent, params)


def cancel(sim: Simulator, intent_id: str, params: dict[str, Any]) -> dict[str, Any]:
    """Cancel a PaymentIntent that has not succeeded."""
    intent = retrieve(sim, intent_id, params)
    _must_be(intent, _CANCELABLE, "cancel")
    intent |= {
        "status": "canceled",
        "cancellation_reason": params.get("cancellation_reason"),
        "next_action": None,
    }
    sim.store.put(intent)
    sim.emit("payment_intent.canceled", intent)
    return intent


def listing(sim: Simulator, params: dict[str, Any]) -> dict[str, Any]:
    """PaymentIntents, newest first, made from `created[gte]` to `created[lte]`, page by page."""
    created = params.get("created", {})
    first, last = int(created.get("gte", 0)), int(created.get("lte", 2**62))
    intents = [intent for intent in sim.store.all("payment_intent") if first <= intent["created"] <= last]
    return sim.page(intents, params, "/v1/payment_intents")


def authenticate(sim: Simulator, intent_id: str, *, succeeds: bool) -> dict[str, Any]:
    """What the customer does at 3-D Secure or at PayPal."""
    intent = retrieve(sim, intent_id, {})
    _must_be(intent, ("requires_action",), "authenticate")
    intent["next_action"] = None
    if succeeds:
        return _succeed(sim, intent)
    error = {
        "type": "card_error",
        "code": "payment_intent_authentication_failure",
        "message": "The customer could not be authenticated.",
    }
    intent |= {"status": "requires_payment_method", "last_payment_error": error, "payment_method": None}
    sim.store.put(intent)
    sim.emit("payment_intent.payment_failed", intent)
    return intent


def _must_be(intent: dict[str, Any], states: tuple[str, ...], verb: str) -> None:
    if intent["status"] not in states:
        raise StripeFault(
            400,
            f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.",
            code="payment_intent_unexpected_state",
            payment_intent=intent,
        )


def _take_method(intent: dict[str, Any], params: dict[str, Any]) -> None:
    method = params.get("payment_method")
    data = params.get("payment_method_data")
    if isinstance(data, dict) and data.get("type") == "paypal":
        method = "pm_paypal"
    if method is None:
        return
    if method not in CARDS and method != "pm_paypal":
        raise StripeFault(
            404, f"No such PaymentMethod: '{method}'", code="resource_missing", param="payment_method"
        )
    intent |= {"payment_method": method, "status": "requires_confirmation"}


def _pay(sim: Simulator, intent: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    method = intent["payment_method"]
    if method is None:
        raise StripeFault(
            400, "A payment method is needed to confirm.", code="payment_intent_unexpected_state"
        )
    card = CARDS.get(method)
    if card is None or card.three_d_secure:
        return _ask_customer(sim, intent, params.get("return_url"))
    if card.decline:
        return _decline(sim, intent, card)
    return _succeed(sim, intent)


def _ask_customer(sim: Simulator, intent: dict[str, Any], return_url: str | None) -> dict[str, Any]:
    action: dict[str, Any] = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    if intent["payment_method"] == "pm_paypal" and not return_url:
        raise StripeFault(400, "A return_url is needed.", code="parameter_missing", param="return_url")
    if return_url:
        page = f"{sim.base_url}/_simulator/authenticate/{intent['id']}"
        action = {"type": "redirect_to_url", "redirect_to_url": {"url": page, "return_url": return_url}}
    intent |= {"status": "requires_action", "next_action": action}
    sim.store.put(intent)
    sim.emit("payment_intent.requires_action", intent)
    return intent


def _charge(sim: Simulator, intent: dict[str, Any], status: str) -> dict[str, Any]:
    card = CARDS.get(intent["payment_method"])
    details: dict[str, Any] = {"type": "paypal", "paypal": {}}
    if card:
        details = {
            "type": "card",
            "card": {"brand": card.brand, "last4": card.last4, "funding": card.funding},
        }
    charge = {
        "id": sim.new_id("ch"),
        "object": "charge",
        "amount": intent["amount"],
        "amount_refunded": 0,
        "created": sim.now(),
        "currency": intent["currency"],
        "disputed": False,
        "livemode": False,
        "metadata": intent["metadata"],
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": intent["payment_method"],
        "payment_method_details": details,
        "refunded": False,
        "status": status,
    }
    sim.store.put(charge)
    intent["latest_charge"] = charge["id"]
    return charge


def _succeed(sim: Simulator, intent: dict[str, Any]) -> dict[str, Any]:
    _charge(sim, intent, "succeeded")
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    sim.store.put(intent)
    sim.emit("payment_intent.succeeded", intent)
    return intent


def _decline(sim: Simulator, intent: dict[str, Any], card: TestCard) -> dict[str, Any]:
    assert card.decline  # noqa: S101 - for the type checker
    code, decline_code = card.decline
    charge = _charge(sim, intent, "failed")
    error: dict[str, Any] = {"code": code, "charge": charge["id"]}
    if decline_code:
        error["decline_code"] = decline_code
    message = MESSAGES.get(decline_code or code) or MESSAGES[code]
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "last_payment_error": {"type": "card_error", "message": message, **error},
    }
    sim.store.put(intent)
    sim.emit("payment_intent.payment_failed", intent)
    raise Declined(StripeFault(402, message, "card_error", **error, payment_intent=intent))


class Declined(Exception):
    """A decline is an answer like any other: stored, unlike a refused parameter."""

    def __init__(self, fault: StripeFault) -> None:
        super().__init__(str(fault))
        self.fault = fault
