"""Requests of the gateway to Stripe, and how it reads the responses."""

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from app import declines
from app.errors import GatewayError, InvalidCard
from app.gateway import (
    ActionRequired,
    AmountRefused,
    CardDetails,
    Charge,
    Charged,
    Declined,
    Gateway,
    GatewayUnavailable,
    Refunded,
    RefundFailed,
    RefundPending,
    RefundRequest,
    Refused,
    make_gateway,
)
from app.gateway.stripe.client import StripeApi
from app.gateway.stripe.gateway import StripeGateway
from tests.support.fake_stripe import FakeTransport, error, lost, settings

CREATED = 1_764_613_802
CREATED_AT = datetime(2025, 12, 1, 18, 30, 2, tzinfo=UTC)
CARD = CardDetails("4242424242424242", "123", 12, 2030)
CHARGE = Charge("TXN-1", Decimal("25.50"), "USD", "BOOK-1", "user_1", "pm_card_visa", "card")
REFUND = RefundRequest("REF-1", "pi_1", Decimal("10.00"), "USD")
OURS = {"namespace": "shop", "transaction_id": "TXN-1", "booking_id": "BOOK-1", "user_id": "user_1"}


def intent(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    return {
        "object": "payment_intent",
        "id": "pi_1",
        "status": status,
        "client_secret": "pi_1_secret",
        "amount": 2550,
        "currency": "usd",
        "created": CREATED,
        "metadata": OURS,
    } | fields


def refund(status: str = "succeeded", **fields: Any) -> dict[str, Any]:
    return {
        "object": "refund",
        "id": "re_1",
        "status": status,
        "amount": 1000,
        "currency": "usd",
        "created": CREATED,
        "payment_intent": "pi_1",
        "metadata": {"refund_transaction_id": "REF-1"},
    } | fields


def listing(*items: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": list(items), "has_more": False}


def gateway(*responses: Any, **changes: Any) -> tuple[StripeGateway, FakeTransport]:
    ours = settings(**{"payment_gateway_max_retries": 0} | changes)
    transport = FakeTransport(*responses)
    return StripeGateway(ours, StripeApi(ours, transport)), transport


def sent(transport: FakeTransport) -> dict[str, str]:
    (request,) = transport.requests
    return dict(request.params)


def test_the_factory_makes_the_stripe_gateway() -> None:
    created: Gateway = make_gateway(settings())
    assert isinstance(created, StripeGateway)
    assert created.default_test_method == "pm_card_visa"


SEAL = ("TXN-1", Decimal("25.50"), "USD")


def test_a_key_that_was_never_used_is_sealed_with_a_payment_that_nobody_can_confirm() -> None:
    stripe, transport = gateway(intent(status="requires_payment_method"), intent(status="canceled"))
    assert stripe.seal(*SEAL)
    sealed, canceled = transport.requests
    assert sealed.key == "TXN-1"
    params = dict(sealed.params)
    assert not {"confirm", "payment_method"} & set(params)
    assert params["metadata[sealed_key]"] == "TXN-1"
    assert canceled.path.endswith("/cancel")


def test_a_key_that_was_used_for_another_request_is_not_sealed() -> None:
    used = {"type": "idempotency_error", "message": "Keys can only be used with the same parameters"}
    stripe, _ = gateway((400, {"error": used}, {}))
    assert not stripe.seal(*SEAL)


@pytest.mark.parametrize("status", [409, 500, 429, 401])
def test_a_seal_without_a_usable_response_decides_nothing(status: int) -> None:
    stripe, _ = gateway(error(status))
    with pytest.raises(GatewayUnavailable):
        stripe.seal(*SEAL)


@pytest.mark.parametrize(
    "refusal", [error(400, "amount_too_small"), error(400, "amount_too_large"), error(400, param="currency")]
)
def test_a_seal_with_an_amount_that_stripe_refuses_says_so(refusal: Any) -> None:
    stripe, _ = gateway(refusal)
    with pytest.raises(AmountRefused):
        stripe.seal(*SEAL)


@pytest.mark.parametrize("refusal", [error(400), error(400, param="metadata"), error(429, param="amount")])
def test_a_seal_that_stripe_refuses_for_another_reason_decides_nothing(refusal: Any) -> None:
    stripe, _ = gateway(refusal)
    with pytest.raises(GatewayUnavailable) as raised:
        stripe.seal(*SEAL)
    assert not isinstance(raised.value, AmountRefused)


def test_a_key_whose_seal_has_a_stored_error_is_sealed() -> None:
    stripe, _ = gateway(error(500, headers={"Idempotent-Replayed": "true"}))
    assert stripe.seal(*SEAL)


def test_a_seal_holds_even_if_its_cancellation_fails() -> None:
    stripe, _ = gateway(intent(status="requires_payment_method"), error(400))
    assert stripe.seal(*SEAL)


def test_a_card_is_charged_in_one_request() -> None:
    stripe, transport = gateway(intent())
    assert stripe.charge(replace(CHARGE, return_url="https://shop.example/paid")) == Charged("pi_1")
    assert transport.requests[0].key == "TXN-1"
    assert sent(transport) == {
        "amount": "2550",
        "currency": "usd",
        "confirm": "true",
        "payment_method": "pm_card_visa",
        "payment_method_types[0]": "card",
        "return_url": "https://shop.example/paid",
        "expand[0]": "latest_charge",
        "metadata[namespace]": "shop",
        "metadata[transaction_id]": "TXN-1",
        "metadata[booking_id]": "BOOK-1",
        "metadata[user_id]": "user_1",
    }


def test_paypal_payments_request_a_redirect_page() -> None:
    action = {"next_action": {"redirect_to_url": {"url": "https://paypal.example"}}}
    stripe, transport = gateway(intent("requires_action", **action))
    outcome = stripe.charge(
        replace(CHARGE, payment_method=None, kind="paypal", return_url="https://x.example")
    )
    assert outcome == ActionRequired("pi_1", "pi_1_secret", "https://paypal.example")
    params = sent(transport)
    assert params["payment_method_data[type]"] == params["payment_method_types[0]"] == "paypal"
    assert params["confirm"] == "true"


def test_a_browser_payment_is_not_confirmed_by_the_server() -> None:
    automatic = {"automatic_payment_methods": {"enabled": True}}
    stripe, transport = gateway(intent("requires_payment_method", **automatic))
    charge = replace(CHARGE, payment_method=None, kind="element", return_url="https://shop.example/paid")
    assert stripe.charge(charge) == ActionRequired("pi_1", "pi_1_secret")
    params = sent(transport)
    assert params["automatic_payment_methods[enabled]"] == "true"
    assert not {"confirm", "return_url", "payment_method", "payment_method_types[0]"} & set(params)


@pytest.mark.parametrize("namespace", ["shop", ""])
def test_a_callers_metadata_cannot_override_ours(namespace: str) -> None:
    theirs = dict.fromkeys((*OURS, "refund_transaction_id"), "x") | {"channel": "web"}
    stripe, transport = gateway(intent(), namespace=namespace)
    stripe.charge(replace(CHARGE, metadata=theirs))
    found = {name: value for name, value in sent(transport).items() if name.startswith("metadata")}
    assert found == {
        "metadata[channel]": "web",
        "metadata[transaction_id]": "TXN-1",
        "metadata[booking_id]": "BOOK-1",
        "metadata[user_id]": "user_1",
    } | ({"metadata[namespace]": "shop"} if namespace else {})


def test_a_refund_carries_our_ids() -> None:
    stripe, transport = gateway(refund())
    assert stripe.refund(REFUND) == Refunded("re_1")
    assert transport.requests[0].key == "REF-1"
    assert sent(transport) == {
        "payment_intent": "pi_1",
        "amount": "1000",
        "metadata[namespace]": "shop",
        "metadata[refund_transaction_id]": "REF-1",
    }


def test_an_accepted_refund_is_pending() -> None:
    stripe, _ = gateway(refund("pending", pending_reason="insufficient_funds"))
    assert stripe.refund(REFUND) == RefundPending("re_1", "insufficient_funds")
    stripe, _ = gateway(refund("failed", failure_reason="declined"))
    assert stripe.refund(REFUND) == RefundFailed("re_1", "declined")


def test_a_payment_is_looked_up_with_its_card() -> None:
    stripe, transport = gateway(intent())
    found = stripe.payment("pi_1")
    assert found
    assert (found.transaction_id, found.outcome) == ("TXN-1", Charged("pi_1"))
    assert (transport.requests[0].path, sent(transport)) == (
        "/v1/payment_intents/pi_1",
        {"expand[0]": "latest_charge"},
    )


def test_ids_are_quoted() -> None:
    stripe, transport = gateway(intent())
    stripe.payment("pi_1/../x?y")
    assert transport.requests[0].path == "/v1/payment_intents/pi_1%2F..%2Fx%3Fy"


@pytest.mark.parametrize("read", ["payment", "find_refund"])
def test_an_object_unknown_to_stripe_is_none(read: str) -> None:
    stripe, _ = gateway(error(404, "resource_missing"))
    assert getattr(stripe, read)("x_1") is None


@pytest.mark.parametrize("failure", [lost(), error(500), error(429), error(401), error(400)], ids=str)
def test_a_read_without_a_usable_response_raises_an_error(failure: Any) -> None:
    stripe, _ = gateway(failure)
    since = CREATED_AT
    reads = [
        lambda: stripe.payment("pi_1"),
        lambda: stripe.find_refund("re_1"),
        lambda: stripe.cancel("pi_1", abandoned=True),
        lambda: list(stripe.payments(since)),
        lambda: list(stripe.refunds(since=since)),
        lambda: list(stripe.disputes(since)),
        lambda: stripe.clock(),
    ]
    for read in reads:
        with pytest.raises(
            GatewayUnavailable, match=r"^The request to the gateway failed: [A-Za-z]+( \d+)?\.$"
        ):
            read()
    assert issubclass(GatewayUnavailable, GatewayError)


@pytest.mark.parametrize(("abandoned", "cause"), [(True, "abandoned"), (False, "requested_by_customer")])
def test_a_payment_is_canceled_with_its_reason(abandoned: bool, cause: str) -> None:
    stripe, transport = gateway(intent("canceled"))
    assert stripe.cancel("pi_1", abandoned=abandoned).outcome.decline is declines.NOT_CONFIRMED
    assert transport.requests[0].path == "/v1/payment_intents/pi_1/cancel"
    assert sent(transport)["cancellation_reason"] == cause


def test_a_payment_confirmed_before_its_cancellation_is_paid() -> None:
    stripe, transport = gateway(error(400, "payment_intent_unexpected_state"), intent())
    assert stripe.cancel("pi_1", abandoned=True).outcome == Charged("pi_1")
    assert [request.method for request in transport.requests] == ["post", "get"]


def test_a_nonexistent_payment_cannot_be_canceled() -> None:
    stripe, _ = gateway(error(404, "resource_missing"))
    with pytest.raises(GatewayUnavailable, match="no payment pi_1"):
        stripe.cancel("pi_1", abandoned=True)


def test_listed_payments_belong_to_this_deployment_or_have_no_namespace() -> None:
    listed = listing(
        intent(id="pi_4"),
        intent(id="pi_3", metadata=OURS | {"namespace": "other"}),
        intent(id="pi_2", metadata={"namespace": "shop"}),
        intent(id="pi_1", metadata={"transaction_id": "TXN-2"}),
        intent(id="pi_0", metadata={}, currency="xyz"),
    )
    stripe, transport = gateway(listed)
    assert [created.gateway_id for created in stripe.payments(CREATED_AT, CREATED_AT)] == ["pi_4", "pi_1"]
    assert sent(transport) == {
        "created[gte]": str(CREATED),
        "created[lte]": str(CREATED),
        "expand[0]": "data.latest_charge",
        "limit": "100",
    }
    stripe, _ = gateway(listed, namespace="")
    assert [created.gateway_id for created in stripe.payments(CREATED_AT)] == ["pi_1"]


def test_refunds_are_listed_by_payment_or_time() -> None:
    stripe, transport = gateway(listing(refund(), refund(id="re_0", metadata={})))
    assert [created.refund_id for created in stripe.refunds(payment="pi_1")] == ["REF-1", None]
    assert sent(transport) == {"payment_intent": "pi_1", "limit": "100"}
    stripe, transport = gateway(listing())
    assert list(stripe.refunds(since=CREATED_AT, until=CREATED_AT)) == []
    assert sent(transport) == {"created[gte]": str(CREATED), "created[lte]": str(CREATED), "limit": "100"}


def test_disputes_are_listed() -> None:
    opened = {
        "object": "dispute",
        "id": "dp_1",
        "status": "lost",
        "amount": 100,
        "currency": "jpy",
        "created": CREATED,
    }
    stripe, transport = gateway(listing(opened))
    (found,) = stripe.disputes(CREATED_AT)
    assert (found.gateway_id, found.status, found.amount, found.currency) == (
        "dp_1",
        "lost",
        Decimal(100),
        "JPY",
    )
    assert transport.requests[0].path == "/v1/disputes"


def test_a_raw_card_becomes_a_payment_method() -> None:
    stripe, transport = gateway({"object": "payment_method", "id": "pm_1"})
    assert stripe.tokenize(CARD) == "pm_1"
    assert sent(transport)["card[number]"] == "4242424242424242"


@pytest.mark.parametrize(
    ("failure", "result"),
    [
        (error(402, "expired_card"), Declined(declines.EXPIRED)),
        (error(400), Refused("InvalidRequestError 400")),
        (error(500), Refused("APIError 500", transient=True)),
        (lost(), Refused("APIConnectionError", transient=True)),
    ],
    ids=str,
)
def test_a_failed_tokenization_has_its_outcome(failure: Any, result: Any) -> None:
    stripe, _ = gateway(failure)
    assert stripe.tokenize(CARD) == result


def test_test_cards_map_to_payment_methods() -> None:
    stripe, _ = gateway({})
    assert stripe.test_method(CARD) == "pm_card_visa"
    with pytest.raises(InvalidCard, match="not one of the accepted test cards"):
        stripe.test_method(replace(CARD, number="4000000000000010"))
