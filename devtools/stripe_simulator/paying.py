"""Pay or decline a confirmed PaymentIntent, or let it wait for the customer.

Source: https://docs.stripe.com/payments/paymentintents/lifecycle
"""

from __future__ import annotations

from typing import Any

from devtools.stripe_simulator import charges, disputes, fraud_warnings
from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import ExecutionError, StripeError, unexpected_state
from devtools.stripe_simulator.payment_methods import test_card_of
from devtools.stripe_simulator.store import Record
from devtools.stripe_simulator.test_cards import GENERIC, Decline

#: Path of the page that the customer is redirected to; see `pages`.
PAGE = "/_simulator/authenticate/"

#: Actions of the customer, PayPal, or a bank on a waiting PaymentIntent: approve, cancel, refuse, delay. The
#: customer can't cancel a payment that is processing; `fail` declines it.
OUTCOMES = ("succeed", "fail", "decline", "process")

_WAITING = ("requires_action", "processing")

#: Type of the payment method → code and message when the customer cancels: https://docs.stripe.com/error-codes
_CANCELED = {
    "card": ("payment_intent_authentication_failure", "The customer could not be authenticated."),
    "paypal": ("payment_method_customer_decline", "The customer did not approve the payment."),
}

#: Code and message when PayPal itself refuses.
_PROVIDER_DECLINE = ("payment_method_provider_decline", "The payment method's provider declined the payment.")


def pay(call: Call, intent: Record, method: Record, return_url: str | None) -> None:
    """Try to pay `intent` with `method`, or ask the customer first.

    Raises:
        StripeError: the customer must be redirected, and there is no `return_url`.
    """
    card = test_card_of(method)
    if call.pending:
        _process(call, intent)
    elif card is None or card.asks:
        _ask_customer(call, intent, method, return_url)
    else:
        _settle(call, intent, method)


def authenticate(call: Call, intent_id: str, outcome: str) -> Record:
    """Apply the customer's or bank's result of 3-D Secure or PayPal: one of `OUTCOMES`.

    Raises:
        StripeError: the PaymentIntent does not wait for its customer.
    """
    intent = call.get("payment_intent", intent_id)
    if intent["status"] not in _WAITING:
        unexpected_state(intent, "authenticate")
    method = call.get("payment_method", intent["payment_method"])
    kind = method["type"]
    was_processing = intent["status"] == "processing"
    intent["next_action"] = None
    if outcome == "succeed":
        _settle(call, intent, method)
    elif outcome == "process":
        _process(call, intent)
    elif kind == "card" and (outcome == "decline" or was_processing):
        _decline(call, intent, method, GENERIC)
    else:
        canceled = outcome == "fail" and not was_processing
        code, message = _CANCELED[kind] if canceled else _PROVIDER_DECLINE
        # Not a card_error: no bank declined anything.
        _back_to_start(call, intent, method, StripeError(402, message, code=code))
    return intent


def raise_decline(intent: Record) -> None:
    """Raise Stripe's error if the attempt that has just ended was declined."""
    if intent["status"] == "requires_payment_method":
        error = dict(intent["last_payment_error"])
        raise ExecutionError(
            402, error.pop("message"), kind=error.pop("type"), **error, payment_intent=intent
        )


def _ask_customer(call: Call, intent: Record, method: Record, return_url: str | None) -> None:
    action: dict[str, Any] = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
    if return_url:
        redirect = {"return_url": return_url, "url": f"{call.base_url}{PAGE}{intent['id']}"}
        action = {"type": "redirect_to_url", "redirect_to_url": redirect}
    elif method["type"] != "card":
        raise StripeError(
            400,
            "A return_url is required to confirm this PaymentIntent.",
            code="parameter_missing",
            param="return_url",
        )
    intent |= {"status": "requires_action", "next_action": action, "last_payment_error": None}
    call.save(intent)
    call.emit("payment_intent.requires_action", intent)


def _settle(call: Call, intent: Record, method: Record) -> None:
    card = test_card_of(method)
    if card and card.decline:
        _decline(call, intent, method, card.decline)
        return
    charge = charges.make(call, intent, method, None)
    intent["latest_charge"] = charge["id"]
    intent |= {"status": "succeeded", "amount_received": intent["amount"]}
    intent |= {"last_payment_error": None, "next_action": None}
    call.save(intent)
    call.emit("payment_intent.succeeded", intent)
    if card and card.dispute:
        disputes.open_dispute(call, charge["id"], card.dispute, inquiry=card.inquiry)
    if card and card.fraud_warning:
        fraud_warnings.create(call, charge["id"])


def _process(call: Call, intent: Record) -> None:
    intent |= {"status": "processing", "next_action": None, "last_payment_error": None}
    call.save(intent)
    call.emit("payment_intent.processing", intent)


def _decline(call: Call, intent: Record, method: Record, decline: Decline) -> None:
    charge = charges.make(call, intent, method, decline)
    intent["latest_charge"] = charge["id"]
    _back_to_start(call, intent, method, _error(decline, charge))


def _back_to_start(call: Call, intent: Record, method: Record, error: StripeError) -> None:
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_payment_error": error.body["error"] | {"payment_method": method},
    }
    call.save(intent)
    call.emit("payment_intent.payment_failed", intent)


def _error(decline: Decline, charge: Record) -> StripeError:
    given = {"advice_code": decline.advice_code, "param": decline.param}
    return StripeError(
        402,
        decline.message,
        kind="card_error",
        code=decline.code,
        decline_code=decline.decline_code,
        charge=charge["id"],
        **{name: value for name, value in given.items() if value},
    )
