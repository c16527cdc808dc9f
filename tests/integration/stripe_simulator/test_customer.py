"""3-D Secure, PayPal, and confirmation in the browser."""

from __future__ import annotations

from typing import Any

import pytest
import requests
import stripe

from tests.support.stripe_process import PAYPAL, Simulator, create, pay


@pytest.mark.parametrize("method", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
def test_three_d_secure_waits_for_the_customer_then_succeeds_or_fails(
    client: stripe.StripeClient, simulator: Simulator, method: str
) -> None:
    for outcome, status in (("succeed", "succeeded"), ("fail", "requires_payment_method")):
        intent = pay(client, method)
        assert (intent.status, intent.next_action.type) == ("requires_action", "use_stripe_sdk")
        assert (intent.latest_charge, intent.amount_received) == (None, 0)
        simulator.control(f"payment_intents/{intent.id}/authenticate", outcome=outcome)
        after = client.v1.payment_intents.retrieve(intent.id)
        assert after.status == status
    assert after.last_payment_error
    assert after.last_payment_error.code == "payment_intent_authentication_failure"


def test_a_card_may_be_declined_after_three_d_secure(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = pay(client, "pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
    simulator.control(f"payment_intents/{intent.id}/authenticate", outcome="succeed")
    declined: Any = client.v1.payment_intents.retrieve(intent.id)
    assert declined.status == "requires_payment_method"
    assert declined.last_payment_error.decline_code == "insufficient_funds"


@pytest.mark.parametrize(
    ("params", "choice", "status", "redirect_status", "paid_with"),
    [
        (PAYPAL, "succeed", "succeeded", "succeeded", "paypal"),
        (PAYPAL, "fail", "requires_payment_method", "failed", None),
        (
            {"payment_method": "pm_card_threeDSecure2Required", "return_url": PAYPAL["return_url"]},
            "succeed",
            "succeeded",
            "succeeded",
            "card",
        ),
    ],
)
def test_the_customer_is_redirected_and_returns(
    client: stripe.StripeClient,
    params: dict[str, Any],
    choice: str,
    status: str,
    redirect_status: str,
    paid_with: str | None,
) -> None:
    intent = pay(client, **params)
    assert (intent.status, intent.next_action.type) == ("requires_action", "redirect_to_url")
    page = intent.next_action.redirect_to_url.url
    assert "50.00 USD" in requests.get(page, timeout=5).text
    back = requests.post(page, data={"outcome": choice}, allow_redirects=False, timeout=5)
    assert back.headers["Location"] == (
        f"https://shop.example.com/done?a=1&payment_intent={intent.id}"
        f"&payment_intent_client_secret={intent.client_secret}&redirect_status={redirect_status}"
    )
    after: Any = client.v1.payment_intents.retrieve(intent.id, {"expand": ["latest_charge"]})
    assert after.status == status
    assert (after.latest_charge and after.latest_charge.payment_method_details.type) == paid_with
    again = requests.post(page, data={"outcome": choice}, allow_redirects=False, timeout=5)
    assert (again.status_code, "You can close this page" in again.text) == (200, True)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [("fail", "payment_method_customer_decline"), ("decline", "payment_method_provider_decline")],
)
def test_paypal_reports_cancellation_and_refusal_with_different_codes(
    client: stripe.StripeClient, simulator: Simulator, outcome: str, code: str
) -> None:
    params: dict[str, Any] = PAYPAL
    intent = pay(client, **params)
    simulator.control(f"payment_intents/{intent.id}/authenticate", outcome=outcome)
    after: Any = client.v1.payment_intents.retrieve(intent.id)
    assert (after.status, after.latest_charge) == ("requires_payment_method", None)
    assert (after.last_payment_error.code, after.last_payment_error.type) == (code, "invalid_request_error")


# In the browser: the requests of Stripe.js


def unconfirmed(client: stripe.StripeClient) -> Any:
    """A PaymentIntent for the Payment Element."""
    intent = create(client, payment_method_types=None, automatic_payment_methods={"enabled": True})
    assert (intent.status, intent.payment_method) == ("requires_payment_method", None)
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    return intent


def confirm(simulator: Simulator, intent: Any, number: str = "4242424242424242", **fields: str) -> Any:
    form = {
        "key": "pk_test_browser",
        "client_secret": intent.client_secret,
        "return_url": "https://shop.example.com/done",
        "payment_method_data[type]": "card",
        "payment_method_data[card][number]": number,
        "payment_method_data[card][exp_month]": "12",
        "payment_method_data[card][exp_year]": "2040",
        "payment_method_data[card][cvc]": "737",
    }
    return requests.post(
        f"{simulator.url}/v1/payment_intents/{intent.id}/confirm", data=form | fields, timeout=5
    )


def test_a_browser_confirms_with_a_publishable_key_and_the_client_secret(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = unconfirmed(client)
    response = confirm(simulator, intent)
    assert (response.status_code, response.json()["status"]) == (200, "succeeded")
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "metadata" not in response.json()
    shown = requests.get(
        f"{simulator.url}/v1/payment_intents/{intent.id}",
        params={"key": "pk_test_browser", "client_secret": intent.client_secret},
        timeout=5,
    )
    assert shown.json()["status"] == "succeeded"
    assert client.v1.payment_intents.retrieve(intent.id).amount_received == 5000


def test_after_a_decline_in_the_browser_another_card_can_pay(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = unconfirmed(client)
    declined = confirm(simulator, intent, "4000000000009995")
    error = declined.json()["error"]
    assert (declined.status_code, error["decline_code"]) == (402, "insufficient_funds")
    assert error["payment_intent"]["status"] == "requires_payment_method"
    assert "metadata" not in error["payment_intent"]
    assert confirm(simulator, intent).json()["status"] == "succeeded"


def test_three_d_secure_and_paypal_in_the_browser_lead_to_a_page(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    for fields in ({"number": "4000002500003155"}, {"payment_method_data[type]": "paypal"}):
        intent = unconfirmed(client)
        waiting = confirm(simulator, intent, **fields).json()
        page = waiting["next_action"]["redirect_to_url"]["url"]
        back = requests.post(page, data={"outcome": "succeed"}, allow_redirects=False, timeout=5)
        assert back.headers["Location"].startswith("https://shop.example.com/done?payment_intent=pi_")
        assert client.v1.payment_intents.retrieve(intent.id).status == "succeeded"


def test_a_canceled_intent_can_no_longer_be_confirmed(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = unconfirmed(client)
    client.v1.payment_intents.cancel(intent.id)
    late = confirm(simulator, intent)
    assert (late.status_code, late.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")


def test_a_publishable_key_can_access_only_its_own_intent(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent, other = unconfirmed(client), unconfirmed(client)
    wrong = confirm(simulator, intent, client_secret=other.client_secret)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "resource_missing")
    missing = confirm(simulator, intent, client_secret="")
    assert missing.status_code == 400
    for method, path in (("GET", "payment_intents"), ("POST", "refunds"), ("GET", f"charges/{intent.id}")):
        refused = requests.request(
            method, f"{simulator.url}/v1/{path}", params={"key": "pk_test_browser"}, timeout=5
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (401, "secret_key_required")
    in_the_form = requests.get(f"{simulator.url}/v1/balance", params={"key": "sk_test_x"}, timeout=5)
    assert in_the_form.status_code == 401
