"""PaymentMethods: https://docs.stripe.com/api/payment_methods

A card's number and CVC are not stored, only its brand, last four digits, and expiry.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

from app.luhn import is_luhn_valid
from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.store import Record
from devtools.stripe_simulator.test_cards import CARDS, NUMBERS, TestCard, card_of

TYPES = ("card", "paypal")

_PAYER = {"payer_email": "payer@example.com", "payer_id": "SIMULATEDPAYER"}


def create(call: Call, params: Params) -> Record:
    """Create a PaymentMethod from a card, a token (`tok_visa`), or PayPal."""
    kind = params.choice("type", TYPES) or params.required("type")
    if kind == "paypal":
        return _save(call, kind, dict(_PAYER), params.metadata())
    card = params.group("card")
    if token := card.text("token"):
        test_card = CARDS.get(token.replace("tok_", "pm_card_", 1))
        if test_card is None:
            raise StripeError(400, "No such token.", code="resource_missing", param="card[token]")
        return _save(call, kind, _card(test_card, *_usual_expiry(call)), params.metadata())
    return _save(call, kind, _card(_recognized(card), *_expiry(call, card)), params.metadata())


def retrieve(call: Call, _params: Params, record_id: str) -> Record:
    """Return a PaymentMethod. Reading one of Stripe's test PaymentMethods creates a new one of its kind."""
    return resolve(call, record_id, "id")


def resolve(call: Call, method_id: str, param: str) -> Record:
    """Return the PaymentMethod with that id, a new one for Stripe's test ids (`pm_card_visa`).

    Raises:
        StripeError: it does not exist; `param` is the parameter with the id.
    """
    if method_id in CARDS:
        return _save(call, "card", _card(CARDS[method_id], *_usual_expiry(call)), {})
    return call.get("payment_method", method_id, param)


def test_card_of(method: Record) -> TestCard | None:
    """Return the test card behind a PaymentMethod, None if it is not a card."""
    return card_of(method["card"]["brand"], method["card"]["last4"]) if method["type"] == "card" else None


def _save(call: Call, kind: str, details: dict[str, Any], metadata: dict[str, str]) -> Record:
    method = call.new("payment_method", "pm", type=kind, customer=None, metadata=metadata)
    method[kind] = details
    call.save(method)
    return method


def _card(card: TestCard, month: int, year: int) -> dict[str, Any]:
    return {
        "brand": card.brand,
        "country": "US",
        "exp_month": month,
        "exp_year": year,
        # The same for every PaymentMethod of a number.
        "fingerprint": hashlib.sha256(f"{card.brand} {card.last4}".encode()).hexdigest()[:16],
        "funding": card.funding,
        "last4": card.last4,
    }


def _usual_expiry(call: Call) -> tuple[int, int]:
    return 12, _today(call).year + 1


def _recognized(card: Params) -> TestCard:
    """Return the test card with the entered number."""
    number = re.sub(r"[ -]", "", card.required("number"))
    if not re.fullmatch(r"[0-9]{12,19}", number) or not is_luhn_valid(number):
        raise _card_error("incorrect_number", "Your card number is incorrect.", "number")
    cvc = card.text("cvc")
    if cvc is not None and not re.fullmatch(r"[0-9]{3,4}", cvc):
        raise _card_error("invalid_cvc", "Your card's security code is invalid.", "cvc")
    if number not in NUMBERS:
        raise _card_error(
            "card_declined",
            "Your card was declined. In test mode, use a test card: https://docs.stripe.com/testing",
            "number",
            decline_code="test_mode_live_card",
        )
    return NUMBERS[number]


def _expiry(call: Call, card: Params) -> tuple[int, int]:
    month, year = card.required_integer("exp_month"), card.required_integer("exp_year")
    # Stripe also accepts years of two digits.
    year += 2000 if year < 100 else 0
    if not 1 <= month <= 12:
        raise _card_error("invalid_expiry_month", "Your card's expiration month is invalid.", "exp_month")
    today = _today(call)
    if (year, month) < (today.year, today.month) or year > today.year + 50:
        raise _card_error("invalid_expiry_year", "Your card's expiration year is invalid.", "exp_year")
    return month, year


def _today(call: Call) -> datetime:
    return datetime.fromtimestamp(call.now, UTC)


def _card_error(code: str, message: str, param: str, **fields: str) -> StripeError:
    return StripeError(402, message, kind="card_error", code=code, param=param, **fields)
