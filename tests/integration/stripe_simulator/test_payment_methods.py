"""Payment methods and test cards."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from devtools.stripe_simulator.test_cards import CARDS, NUMBERS
from tests.integration.stripe_simulator.conftest import Start
from tests.support.stripe_process import CARD, code_of, pay, sdk


@pytest.mark.parametrize(
    ("number", "brand"),
    [("4111111111111111", "visa"), ("5555555555554444", "mastercard"), ("378282246310005", "amex")],
)
def test_a_test_number_becomes_a_payment_method(client: stripe.StripeClient, number: str, brand: str) -> None:
    card: Any = CARD | {"number": number}
    method = client.v1.payment_methods.create({"type": "card", "card": card})
    assert method.card
    assert (method.card.brand, method.card.last4, method.card.exp_year) == (brand, number[-4:], 2040)
    assert pay(client, method.id).status == "succeeded"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"number": "4242424242424241"}, "incorrect_number"),
        ({"number": "4929420573595709"}, "card_declined"),
        ({"exp_month": 13}, "invalid_expiry_month"),
        ({"exp_year": 2020}, "invalid_expiry_year"),
        ({"cvc": "12"}, "invalid_cvc"),
    ],
)
def test_an_invalid_card_is_refused(client: stripe.StripeClient, change: dict[str, Any], code: str) -> None:
    card: Any = CARD | change
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_methods.create({"type": "card", "card": card})
    assert code_of(refused) == (402, code)


def test_a_declined_number_is_declined_and_no_number_is_stored(start: Start) -> None:
    simulator = start()
    client = sdk(simulator)
    declined: Any = CARD | {"number": "4000000000009995"}
    method = client.v1.payment_methods.create({"type": "card", "card": declined})
    with pytest.raises(stripe.CardError) as refused:
        pay(client, method.id)
    assert refused.value.error
    assert refused.value.error.decline_code == "insufficient_funds"
    pay(client, payment_method=None, payment_method_data={"type": "card", "card": CARD}, key="raw")
    seen = repr(simulator.state()) + simulator.output()
    kept = b"".join(path.read_bytes() for path in simulator.directory.glob("stripe.sqlite3*"))
    assert len(kept) > 10_000
    for secret in ("4000000000009995", "4242424242424242", '"737"'):
        assert secret not in seen
        assert secret.encode() not in kept


def test_test_cards_have_distinct_last_four_digits() -> None:
    assert len({(card.brand, card.last4) for card in NUMBERS.values()}) == len(NUMBERS)
    assert {card.number for card in CARDS.values()} <= set(NUMBERS)
