"""Retries of one call, and their time budget."""

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import stripe

from app.gateway.stripe.client import StripeApi
from app.gateway.stripe.errors import NeverReached, may_have_arrived
from app.settings import Settings
from tests.support.fake_stripe import Clock, FakeTransport, error, lost, settings

INTENT = {"object": "payment_intent", "id": "pi_1"}
NEVER_REACHED = NeverReached("refused", should_retry=True)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("app.gateway.stripe.client.time", clock)
    return clock


def post(transport: FakeTransport, ours: Settings | None = None, key: str | None = "TXN-1") -> dict[str, Any]:
    return StripeApi(ours or settings(), transport).call("post", "/v1/payment_intents", {"amount": 1}, key)


@pytest.mark.parametrize(
    "failure",
    [
        lost(),
        NEVER_REACHED,
        error(409, "idempotency_key_in_use"),
        error(500),
        error(502),
        error(503),
        error(429),
        error(429, "lock_timeout"),
        error(409, "lock_timeout"),
        error(400, headers={"Stripe-Should-Retry": "true"}, type="idempotency_error"),
    ],
    ids=str,
)
def test_a_transient_failure_is_retried_with_the_same_key(clock: Clock, failure: Any) -> None:
    transport = FakeTransport(failure, failure, INTENT)
    assert post(transport) == INTENT
    assert {request.key for request in transport.requests} == {"TXN-1"}
    assert len({tuple(request.params) for request in transport.requests}) == 1
    assert len(clock.pauses) == 2


@pytest.mark.parametrize(
    "failure",
    [
        error(400),
        error(401),
        error(402, "card_declined"),
        error(403),
        error(404),
        error(500, headers={"Stripe-Should-Retry": "false"}),
        stripe.APIConnectionError("certificate", should_retry=False),
    ],
    ids=str,
)
def test_a_permanent_failure_is_not_retried(clock: Clock, failure: Any) -> None:
    transport = FakeTransport(failure)
    with pytest.raises(stripe.StripeError):
        post(transport)
    assert len(transport.requests) == 1


def test_a_call_without_a_key_gets_one_for_its_retries(clock: Clock) -> None:
    transport = FakeTransport(lost(), INTENT)
    post(transport, key=None)
    post(transport, key=None)
    first, again, other = (request.key for request in transport.requests)
    assert first == again
    assert first
    assert other not in (None, first)


def test_a_read_has_no_key(clock: Clock) -> None:
    transport = FakeTransport(INTENT)
    StripeApi(settings(), transport).call("get", "/v1/payment_intents/pi_1", {"expand": ["latest_charge"]})
    (request,) = transport.requests
    assert (request.method, request.path, request.key) == ("get", "/v1/payment_intents/pi_1", None)
    assert request.params == [("expand[0]", "latest_charge")]


@pytest.mark.parametrize("retries", [0, 1, 2, 5])
def test_the_number_of_retries_is_configurable(clock: Clock, retries: int) -> None:
    transport = FakeTransport(error(500))
    with pytest.raises(stripe.APIError):
        post(transport, settings(payment_gateway_max_retries=retries, web_timeout=600))
    assert len(transport.requests) == retries + 1


@pytest.mark.parametrize("drawn", [0.0, 0.5, 1.0])
def test_pauses_double_and_are_random_in_their_upper_half(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, drawn: float
) -> None:
    def draw(low: float, high: float) -> float:
        return low + (high - low) * drawn

    monkeypatch.setattr(random, "uniform", draw)
    with pytest.raises(stripe.APIError):
        post(FakeTransport(error(500)), settings(payment_gateway_max_retries=5, web_timeout=600))
    assert clock.pauses == [longest * (0.5 + drawn / 2) for longest in (0.5, 1.0, 2.0, 4.0, 5.0)]


def test_rate_limits_are_retried_within_the_time_budget(clock: Clock) -> None:
    ours = settings()
    transport = FakeTransport(error(429), clock=clock, seconds=0.05)
    with pytest.raises(stripe.RateLimitError):
        post(transport, ours)
    assert len(transport.requests) > ours.payment_gateway_max_retries + 1
    assert clock.now - 1000 <= ours.gateway_time_budget
    # The next pause of up to five seconds and an attempt of ten seconds would exceed the budget.
    assert clock.now - 1000 >= ours.gateway_time_budget - 15.05


def test_rate_limits_do_not_use_up_the_retries(clock: Clock) -> None:
    failures = [error(429), error(429), error(429), error(500), error(500)]
    transport = FakeTransport(*failures, INTENT)
    assert post(transport) == INTENT


def test_stripes_retry_after_is_respected_within_the_time_budget(clock: Clock) -> None:
    assert post(FakeTransport(error(429, headers={"Retry-After": "7"}), INTENT)) == INTENT
    assert clock.pauses == [7.0]
    late = FakeTransport(error(429, headers={"Retry-After": "600"}), INTENT)
    with pytest.raises(stripe.RateLimitError):
        post(late)
    assert len(late.requests) == 1


@pytest.mark.parametrize("header", ["Wed, 21 Oct 2026 07:28:00 GMT", "-1", "1e9", "²", ""])
def test_an_unparsable_retry_after_is_ignored(clock: Clock, header: str) -> None:
    assert post(FakeTransport(error(429, headers={"Retry-After": header}), INTENT)) == INTENT
    assert clock.pauses[0] <= 0.5


@pytest.mark.parametrize("retries", range(6))
@pytest.mark.parametrize("read_timeout", [0.1, 8.0, 60.0])
@pytest.mark.parametrize(
    "failures",
    [
        lambda: [lost()],
        lambda: [error(500)],
        lambda: [error(429)],
        lambda: [error(429), error(500), error(429), error(429), lost()],
        lambda: [error(429, headers={"Retry-After": "9"}), lost()],
    ],
)
def test_no_call_takes_longer_than_the_time_budget(
    clock: Clock, retries: int, read_timeout: float, failures: Callable[[], list[Any]]
) -> None:
    ours = settings(
        payment_gateway_max_retries=retries, payment_gateway_read_timeout=read_timeout, web_timeout=600
    )
    one_try = ours.payment_gateway_connect_timeout + ours.payment_gateway_read_timeout
    for seconds in (0.0, one_try / 2, one_try):
        started = clock.now
        with pytest.raises(stripe.StripeError):
            post(FakeTransport(*failures(), clock=clock, seconds=seconds), ours)
        assert clock.now - started <= ours.gateway_time_budget + 1e-6  # rounding of floats


#: Attempts of one call → whether the raised error means that the request may have been carried out.
MIXED: list[tuple[list[Any], bool]] = [
    ([NEVER_REACHED, NEVER_REACHED, NEVER_REACHED], False),
    ([error(429), NEVER_REACHED, error(401)], False),
    ([NEVER_REACHED, error(400)], False),
    # An attempt that may have arrived is not settled by a later one that certainly did not.
    ([lost(), NEVER_REACHED, NEVER_REACHED], True),
    ([error(500), error(401)], True),
    ([error(409, "idempotency_key_in_use"), error(429), error(403)], True),
    ([NEVER_REACHED, error(502), NEVER_REACHED], True),
    # Stripe's result for the key is final, whatever happened to the first request.
    ([lost(), error(402, "card_declined")], False),
    ([error(500), error(400, "parameter_missing")], False),
    # Not a result: another request used the key.
    ([lost(), error(400, type="idempotency_error")], True),
]


@pytest.mark.parametrize(("tries", "arrived"), MIXED, ids=str)
def test_the_reported_error_is_the_least_certain_one(clock: Clock, tries: list[Any], arrived: bool) -> None:
    with pytest.raises(stripe.StripeError) as failed:
        post(FakeTransport(*tries))
    assert may_have_arrived(failed.value) is arrived


def test_an_error_that_names_the_payment_is_kept(clock: Clock) -> None:
    named = error(500, payment_intent={"id": "pi_1"})
    with pytest.raises(stripe.APIError) as failed:
        post(FakeTransport(named, lost(), error(503)))
    assert failed.value.json_body["error"]["payment_intent"]["id"] == "pi_1"


def test_every_page_of_a_list_is_read(clock: Clock) -> None:
    def page(*ids: str, more: bool) -> dict[str, Any]:
        return {"object": "list", "data": [{"id": created} for created in ids], "has_more": more}

    transport = FakeTransport(page("c", "b", more=True), page("a", more=False))
    found = StripeApi(settings(), transport).pages("/v1/refunds", {"payment_intent": "pi_1"})
    assert [created["id"] for created in found] == ["c", "b", "a"]
    first = [("payment_intent", "pi_1"), ("limit", "100")]
    assert [request.params for request in transport.requests] == [first, [*first, ("starting_after", "b")]]


def test_an_empty_page_ends_the_list(clock: Clock) -> None:
    transport = FakeTransport({"object": "list", "data": [], "has_more": True})
    assert list(StripeApi(settings(), transport).pages("/v1/refunds", {})) == []


def test_the_gateway_clock_is_the_date_header_of_a_response(clock: Clock) -> None:
    date = {"Date": "Mon, 01 Dec 2025 18:30:02 GMT"}
    api = StripeApi(settings(), FakeTransport((200, {"object": "balance"}, date)))
    assert api.clock() == datetime(2025, 12, 1, 18, 30, 2, tzinfo=UTC)
    for headers in ({}, {"Date": "soon"}):
        with pytest.raises(stripe.APIError, match="Date header"):
            StripeApi(settings(), FakeTransport((200, {"object": "balance"}, headers))).clock()
