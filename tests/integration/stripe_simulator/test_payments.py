"""Payments and lists, as the real SDK sees them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
import stripe

from tests.integration.stripe_simulator.conftest import Start
from tests.support.stripe_process import PAYPAL, Simulator, code_of, create, pay, sdk


def test_a_payment_succeeds_with_its_charge(client: stripe.StripeClient) -> None:
    intent = pay(client, "pm_card_amex", metadata={"transaction_id": "TXN-1"}, expand=["latest_charge"])
    assert (intent.status, intent.amount_received, intent.livemode) == ("succeeded", 5000, False)
    card = intent.latest_charge.payment_method_details.card
    assert (card.brand, card.last4, card.funding) == ("amex", "8431", "credit")

    again = client.v1.payment_intents.retrieve(intent.id)
    assert again.metadata["transaction_id"] == "TXN-1"
    assert again.latest_charge == intent.latest_charge.id
    (charge,) = client.v1.charges.list({"payment_intent": intent.id}).data
    assert (charge.status, charge.amount, charge.refunded, charge.disputed) == (
        "succeeded",
        5000,
        False,
        False,
    )
    assert charge.metadata["transaction_id"] == "TXN-1"


def test_a_payment_can_be_created_confirmed_and_canceled_separately(client: stripe.StripeClient) -> None:
    intent = create(client)
    assert intent.status == "requires_payment_method"
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.payment_intents.confirm(intent.id)
    updated = client.v1.payment_intents.update(
        intent.id, {"metadata": {"a": "1", "b": "2"}, "description": "Two seats"}
    )
    assert updated.description == "Two seats"
    updated = client.v1.payment_intents.update(intent.id, {"metadata": {"a": ""}})
    assert updated.metadata is not None
    assert updated.metadata.to_dict() == {"b": "2"}
    method = client.v1.payment_methods.create({"type": "card", "card": {"token": "tok_visa_debit"}})
    paid = client.v1.payment_intents.confirm(intent.id, {"payment_method": method.id})
    assert (paid.status, paid.payment_method) == ("succeeded", method.id)


def test_a_status_allows_only_its_own_transitions(client: stripe.StripeClient) -> None:
    waiting = create(client, payment_method="pm_card_visa")
    assert waiting.status == "requires_confirmation"
    canceled = client.v1.payment_intents.cancel(waiting.id, {"cancellation_reason": "abandoned"})
    assert (canceled.status, canceled.cancellation_reason) == ("canceled", "abandoned")
    moves: list[Callable[[str], Any]] = [client.v1.payment_intents.confirm, client.v1.payment_intents.cancel]
    for intent in (canceled, pay(client)):
        for move in moves:
            with pytest.raises(stripe.InvalidRequestError) as refused:
                move(intent.id)
            assert code_of(refused) == (400, "payment_intent_unexpected_state")
            assert refused.value.error
            assert refused.value.error.payment_intent
            assert refused.value.error.payment_intent.status == intent.status


@pytest.mark.parametrize(
    ("method", "code", "decline_code", "advice_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline", "try_again_later"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds", "try_again_later"),
        ("pm_card_visa_chargeDeclinedLostCard", "card_declined", "lost_card", "do_not_try_again"),
        ("pm_card_visa_chargeDeclinedStolenCard", "card_declined", "stolen_card", "do_not_try_again"),
        ("pm_card_chargeDeclinedFraudulent", "card_declined", "fraudulent", None),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card", "confirm_card_data"),
        ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc", "incorrect_cvc", "confirm_card_data"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error", "try_again_later"),
    ],
)
def test_a_decline_is_a_card_error_and_another_card_can_pay(
    client: stripe.StripeClient, method: str, code: str, decline_code: str, advice_code: str | None
) -> None:
    with pytest.raises(stripe.CardError) as declined:
        pay(client, method)
    assert code_of(declined) == (402, code)
    error: Any = declined.value.error
    assert (error.type, error.decline_code, getattr(error, "advice_code", None)) == (
        "card_error",
        decline_code,
        advice_code,
    )
    assert error.payment_intent.status == "requires_payment_method"
    assert error.payment_intent.last_payment_error.code == code
    charge = client.v1.charges.retrieve(error.charge)
    assert (charge.status, charge.failure_code, charge.paid) == ("failed", code, False)

    paid = client.v1.payment_intents.confirm(error.payment_intent.id, {"payment_method": "pm_card_visa"})
    assert (paid.status, paid.last_payment_error) == ("succeeded", None)


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"amount": None}, "parameter_missing"),
        ({"amount": "12.50"}, "parameter_invalid_integer"),
        ({"amount": 0}, "parameter_invalid_integer"),
        ({"amount": -100}, "parameter_invalid_integer"),
        ({"amount": 49}, "amount_too_small"),
        ({"amount": 100_000_000}, "amount_too_large"),
        ({"amount": 5001, "currency": "kwd"}, "invalid_charge_amount"),
        ({"currency": "xxx"}, None),
        ({"metadata": {"a": "x" * 501}}, None),
        ({"payment_method": "pm_card_nobody"}, "resource_missing"),
        ({"payment_method": "pm_card_visa", "payment_method_types": ["paypal"], "return_url": "https://a"},
         "payment_intent_incompatible_payment_method"),
        ({"payment_method": "pm_card_visa", "payment_method_types": None,
          "automatic_payment_methods": {"enabled": True}}, None),
        (PAYPAL | {"return_url": None}, "parameter_missing"),
        (PAYPAL | {"return_url": "javascript:alert(1)"}, "url_invalid"),
        ({"capture_method": "manual"}, None),
        ({"expand": ["nothing"]}, None),
    ],
)  # fmt: skip
def test_wrong_parameters_are_refused_by_name(
    client: stripe.StripeClient, simulator: Simulator, params: dict[str, Any], code: str | None
) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        pay(client, **({"metadata": {"transaction_id": "TXN-refused"}} | params))
    assert code_of(refused) == (400, code)
    assert refused.value.param
    assert simulator.charges_of("TXN-refused") == []


def test_automatic_payment_methods_without_redirects_need_no_return_url(client: stripe.StripeClient) -> None:
    automatic = {"enabled": True, "allow_redirects": "never"}
    assert pay(client, payment_method_types=None, automatic_payment_methods=automatic).status == "succeeded"


def test_keys_and_addresses_are_checked(client: stripe.StripeClient, simulator: Simulator) -> None:
    for key in ("sk_live_1234567890", "nonsense"):
        with pytest.raises(stripe.AuthenticationError) as refused:
            sdk(simulator, key=key).v1.balance.retrieve()
        assert key not in str(refused.value)
    bare = requests.get(f"{simulator.url}/v1/balance", timeout=5)
    assert (bare.status_code, bare.json()["error"]["type"]) == (401, "invalid_request_error")
    basic = requests.get(f"{simulator.url}/v1/balance", auth=("sk_test_x", ""), timeout=5)
    assert (basic.status_code, basic.json()["object"]) == (200, "balance")
    assert basic.headers["Request-Id"].startswith("req_")
    with pytest.raises(stripe.InvalidRequestError) as missing:
        client.v1.payment_intents.retrieve("pi_nobody")
    assert code_of(missing) == (404, "resource_missing")
    nowhere = requests.get(f"{simulator.url}/v1/nowhere", auth=("sk_test_x", ""), timeout=5)
    assert (nowhere.status_code, nowhere.json()["error"]["type"]) == (404, "invalid_request_error")


def test_lists_can_be_paged_in_both_directions(client: stripe.StripeClient, start: Start) -> None:
    own = sdk(start())
    ids = [pay(own).id for _ in range(5)]
    listed = [found.id for found in own.v1.payment_intents.list({"limit": 2}).auto_paging_iter()]
    assert listed == ids[::-1]
    page = own.v1.payment_intents.list(
        {"limit": 2, "ending_before": ids[1], "expand": ["data.latest_charge"]}
    )
    assert [found.id for found in page.data] == [ids[3], ids[2]]
    assert page.has_more
    assert isinstance(page.data[0].latest_charge, stripe.Charge)
    created = page.data[0].created
    assert len(own.v1.payment_intents.list({"created": {"gte": created - 60}}).data) == 5
    assert own.v1.payment_intents.list({"created": {"lt": created - 60}}).data == []
    assert own.v1.balance.retrieve().available[0].amount == 25_000
