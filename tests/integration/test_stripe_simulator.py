"""The Stripe simulator as the real stripe SDK, a browser and a webhook endpoint see it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import stripe

from devtools.stripe_simulator.test_cards import CARDS, NUMBERS
from tests.support.ports import free_port
from tests.support.servers import StripeServer
from tests.support.wait import wait_for

SECRET = "whsec_test"
CARD = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "737"}
PAYPAL = {
    "payment_method": None,
    "payment_method_types": ["paypal"],
    "payment_method_data": {"type": "paypal"},
    "return_url": "https://shop.example.com/done?a=1",
}

Start = Callable[..., "Simulator"]


class Simulator(StripeServer):
    """A simulator's process, and what tests ask of it."""

    def __init__(self, directory: Path, webhook_port: int | None = None) -> None:
        super().__init__(directory)
        self._webhook_port = webhook_port

    def command(self) -> list[str]:
        webhooks = ["--webhook-url", f"http://127.0.0.1:{self._webhook_port}/", "--webhook-secret", SECRET]
        return [*super().command(), *(webhooks if self._webhook_port else [])]

    def ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/_simulator/health", timeout=1).ok
        except requests.RequestException:
            return False

    def control(self, path: str, **body: Any) -> Any:
        """POST to what the real Stripe does not have."""
        answer = requests.post(f"{self.url}/_simulator/{path}", json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def fault(self, kind: str, match: str = "POST /v1/payment_intents", **fields: Any) -> None:
        self.control("faults", match=match, kind=kind, **fields)

    def state(self) -> Any:
        return requests.get(f"{self.url}/_simulator/state", timeout=5).json()

    def charges_of(self, transaction_id: str) -> list[Any]:
        charges = self.state()["charges"]
        return [charge for charge in charges if charge["metadata"].get("transaction_id") == transaction_id]


class Receiver:
    """A webhook endpoint: keeps what is rightly signed, and refuses everything while it is told to."""

    def __init__(self, port: int) -> None:
        self.events: list[Any] = []
        self.refused = 0
        self.refuse = False
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                event = stripe.Webhook.construct_event(body, self.headers["Stripe-Signature"], SECRET)
                if receiver.refuse:
                    receiver.refused += 1
                else:
                    receiver.events.append(event)
                self.send_response(500 if receiver.refuse else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.port = port
        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def types(self, object_id: str) -> list[str]:
        """The types of the events about an object, in no order: Stripe promises none."""
        return sorted(event.type for event in self.events if event.data.object["id"] == object_id)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    receiver = Receiver(free_port())
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Simulator]:
    simulator = Simulator(tmp_path_factory.mktemp("stripe"), receiver.port)
    simulator.start()
    yield simulator
    simulator.stop()


@pytest.fixture
def simulator(shared: Simulator) -> Iterator[Simulator]:
    """One process for all tests, whose objects never meet; faults do not outlive a test."""
    yield shared
    requests.delete(f"{shared.url}/_simulator/faults", timeout=5)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a simulator of the test's own."""
    started: list[Simulator] = []

    def start(webhook_port: int | None = None) -> Simulator:
        started.append(Simulator(tmp_path, webhook_port))
        started[-1].start()
        return started[-1]

    yield start
    for simulator in started:
        simulator.stop()


@pytest.fixture
def client(simulator: Simulator) -> stripe.StripeClient:
    return sdk(simulator)


def sdk(
    simulator: Simulator, timeout: float = 5, retries: int = 0, key: str = "sk_test_x"
) -> stripe.StripeClient:
    return stripe.StripeClient(
        key,
        base_addresses={"api": simulator.url},
        http_client=stripe.RequestsClient(timeout=timeout),
        max_network_retries=retries,
    )


def create(client: stripe.StripeClient, key: str = "", **params: Any) -> Any:
    wanted: Any = {"amount": 5000, "currency": "usd", "payment_method_types": ["card"]} | params
    wanted = {name: value for name, value in wanted.items() if value is not None}
    return client.v1.payment_intents.create(wanted, {"idempotency_key": key} if key else {})


def pay(client: stripe.StripeClient, method: str = "pm_card_visa", key: str = "", **params: Any) -> Any:
    return create(client, key, **({"confirm": True, "payment_method": method} | params))


def refund(client: stripe.StripeClient, intent: Any, **params: Any) -> Any:
    wanted: Any = {"payment_intent": intent.id} | params
    return client.v1.refunds.create(wanted)


def code_of(error: pytest.ExceptionInfo[stripe.StripeError]) -> tuple[int | None, str | None]:
    return error.value.http_status, error.value.code


# Payments


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


def test_a_payment_in_steps(client: stripe.StripeClient) -> None:
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


def test_a_status_allows_only_its_own_moves(client: stripe.StripeClient) -> None:
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
def test_a_decline_is_a_card_error_and_another_card_may_pay(
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


def test_lists_have_pages_both_ways(client: stripe.StripeClient, start: Start) -> None:
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


# Payment methods


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
def test_a_card_that_is_none_is_refused(
    client: stripe.StripeClient, change: dict[str, Any], code: str
) -> None:
    card: Any = CARD | change
    with pytest.raises(stripe.CardError) as refused:
        client.v1.payment_methods.create({"type": "card", "card": card})
    assert code_of(refused) == (402, code)


def test_a_declined_number_declines_and_no_number_is_kept(start: Start) -> None:
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


def test_no_two_test_cards_look_alike() -> None:
    assert len({(card.brand, card.last4) for card in NUMBERS.values()}) == len(NUMBERS)
    assert {card.number for card in CARDS.values()} <= set(NUMBERS)


# Idempotency


def test_the_same_key_replays_the_first_answer(client: stripe.StripeClient) -> None:
    first, again = pay(client, key="k1"), pay(client, key="k1")
    assert again.last_response.body == first.last_response.body
    headers = again.last_response.headers
    assert headers["Idempotent-Replayed"] == "true"
    assert headers["Original-Request"] == first.last_response.headers["Request-Id"]
    assert headers["Request-Id"] != first.last_response.headers["Request-Id"]
    assert "Idempotent-Replayed" not in first.last_response.headers


def test_the_same_key_for_something_else_is_refused(client: stripe.StripeClient) -> None:
    intent = pay(client, key="k2")
    with pytest.raises(stripe.IdempotencyError):
        pay(client, key="k2", amount=6000)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.refunds.create({"payment_intent": intent.id}, {"idempotency_key": "k2"})
    with pytest.raises(stripe.InvalidRequestError):
        pay(client, key="k" * 256)


def test_a_key_belongs_to_one_api_key(client: stripe.StripeClient, simulator: Simulator) -> None:
    assert pay(client, key="k3").id != pay(sdk(simulator, key="sk_test_y"), key="k3").id


def test_what_was_executed_is_replayed_and_what_was_refused_is_not(client: stripe.StripeClient) -> None:
    declines = []
    for _ in range(2):
        with pytest.raises(stripe.CardError) as declined:
            pay(client, "pm_card_visa_chargeDeclined", key="k4")
        declines.append(declined.value)
    assert declines[0].http_body == declines[1].http_body
    assert declines[1].headers
    assert declines[1].headers["Idempotent-Replayed"] == "true"
    with pytest.raises(stripe.InvalidRequestError):
        pay(client, key="k5", amount=1)
    assert pay(client, key="k5").status == "succeeded"


def test_a_key_in_use_is_a_conflict(simulator: Simulator) -> None:
    simulator.fault("delay", seconds=3, before=True)

    def attempt(_: int) -> Any:
        try:
            return pay(sdk(simulator), key="k6", metadata={"transaction_id": "TXN-k6"}).status
        except stripe.APIError as error:
            return (error.http_status, error.error and error.error.code)

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(attempt, range(4)))
    assert set(outcomes) == {"succeeded", (409, "idempotency_key_in_use")}
    assert attempt(4) == "succeeded"
    assert len(simulator.charges_of("TXN-k6")) == 1


def test_the_sdks_own_retries_meet_the_conflict_and_then_the_answer(simulator: Simulator) -> None:
    simulator.fault("delay", seconds=2.5, before=True)
    patient = sdk(simulator, timeout=1.5, retries=5)
    assert pay(patient, key="k7", metadata={"transaction_id": "TXN-k7"}).status == "succeeded"
    assert len(simulator.charges_of("TXN-k7")) == 1


def test_a_key_is_forgotten_after_a_day(start: Start) -> None:
    simulator = start()
    client = sdk(simulator)
    first = pay(client, key="k8")
    simulator.control("clock", advance_seconds=86_000)
    assert pay(client, key="k8").id == first.id
    simulator.control("clock", advance_seconds=401)
    later = pay(client, key="k8")
    assert later.id != first.id
    assert later.created - first.created >= 86_400


# What the customer does


@pytest.mark.parametrize("method", ["pm_card_authenticationRequired", "pm_card_threeDSecure2Required"])
def test_three_d_secure_waits_and_then_succeeds_or_fails(
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
def test_the_customer_is_sent_away_and_comes_back(
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


# Refunds and disputes


def test_refunds_in_parts_never_exceed_the_charge(client: stripe.StripeClient) -> None:
    intent = pay(client)
    part = refund(client, intent, amount=2000, reason="requested_by_customer", metadata={"id": "REF-1"})
    assert (part.status, part.amount, part.metadata["id"]) == ("succeeded", 2000, "REF-1")
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent, amount=3001)
    assert (refused.value.param, refused.value.code) == ("amount", None)
    rest = client.v1.refunds.create({"charge": intent.latest_charge})
    assert rest.amount == 3000
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent)
    assert code_of(refused) == (400, "charge_already_refunded")
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (5000, True)
    assert [found.id for found in client.v1.refunds.list({"charge": charge.id}).data] == [rest.id, part.id]


def test_refunds_at_once_never_exceed_the_charge(client: stripe.StripeClient, simulator: Simulator) -> None:
    intent = pay(client)

    def attempt(_: int) -> str:
        try:
            return str(refund(sdk(simulator), intent, amount=1000).status)
        except stripe.InvalidRequestError:
            return "refused"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(attempt, range(20)))
    assert (outcomes.count("succeeded"), outcomes.count("refused")) == (5, 15)


def test_a_refund_may_fail_later_and_its_money_is_back(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    intent = pay(client)
    refunded = refund(client, intent)
    assert simulator.control(f"refunds/{refunded.id}/fail")["status"] == "failed"
    charge = client.v1.charges.retrieve(intent.latest_charge)
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert refund(client, intent).status == "succeeded"


def test_a_refund_may_be_pending(client: stripe.StripeClient, simulator: Simulator) -> None:
    refunded = refund(client, pay(client, "pm_card_pendingRefund"))
    assert refunded.status == "pending"
    simulator.control(f"refunds/{refunded.id}/succeed")
    assert client.v1.refunds.retrieve(refunded.id).status == "succeeded"


def test_a_disputed_charge_is_not_refunded(client: stripe.StripeClient, simulator: Simulator) -> None:
    intent = pay(client)
    simulator.control(f"charges/{intent.latest_charge}/dispute", reason="product_not_received")
    assert client.v1.charges.retrieve(intent.latest_charge).disputed
    with pytest.raises(stripe.InvalidRequestError) as refused:
        refund(client, intent)
    assert code_of(refused) == (400, "charge_disputed")
    assert simulator.control(f"charges/{intent.latest_charge}/dispute/close", status="won")["status"] == "won"


# Faults


@pytest.mark.parametrize(
    ("status", "error"), [(500, stripe.APIError), (429, stripe.RateLimitError), (409, stripe.APIError)]
)
def test_an_error_comes_before_the_charge_and_is_not_remembered(
    client: stripe.StripeClient, simulator: Simulator, status: int, error: type[stripe.StripeError]
) -> None:
    transaction = {"transaction_id": f"TXN-error-{status}"}
    simulator.fault("error", status=status, times=2)
    for _ in range(2):
        with pytest.raises(error) as failed:
            pay(client, key=f"error-{status}", metadata=transaction)
        assert failed.value.http_status == status
    assert simulator.charges_of(transaction["transaction_id"]) == []
    assert pay(client, key=f"error-{status}", metadata=transaction).status == "succeeded"


def test_an_error_after_the_charge_is_remembered(client: stripe.StripeClient, simulator: Simulator) -> None:
    simulator.fault("error", status=500, after=True)
    for _ in range(2):
        with pytest.raises(stripe.APIError) as failed:
            pay(client, key="error-after", metadata={"transaction_id": "TXN-error-after"})
        assert failed.value.http_status == 500
    assert len(simulator.charges_of("TXN-error-after")) == 1


def test_a_dropped_connection_charges_before_but_not_after(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    for kind, charged in (("drop_before", 0), ("drop_after", 1)):
        simulator.fault(kind)
        with pytest.raises(stripe.APIConnectionError) as dropped:
            pay(client, key=kind, metadata={"transaction_id": f"TXN-{kind}"})
        assert "timed out" not in str(dropped.value).lower(), "a dropped connection is seen at once"
        assert len(simulator.charges_of(f"TXN-{kind}")) == charged
        again = pay(client, key=kind, metadata={"transaction_id": f"TXN-{kind}"})
        assert again.last_response.headers.get("Idempotent-Replayed") == ("true" if charged else None)
        assert len(simulator.charges_of(f"TXN-{kind}")) == 1


def test_a_late_answer_and_one_that_is_no_json(client: stripe.StripeClient, simulator: Simulator) -> None:
    simulator.fault("delay", seconds=60)
    with pytest.raises(stripe.APIConnectionError):
        pay(sdk(simulator, timeout=2), key="late", metadata={"transaction_id": "TXN-late"})
    assert pay(client, key="late", metadata={"transaction_id": "TXN-late"}).status == "succeeded"
    assert len(simulator.charges_of("TXN-late")) == 1
    simulator.fault("malformed")
    with pytest.raises(stripe.APIError):
        pay(client)


def test_a_fault_meets_what_it_matches_until_it_is_cleared(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    simulator.fault("error", match="POST /v1/refunds", status=503, times=0)
    intent = pay(client)
    for _ in range(3):
        with pytest.raises(stripe.APIError):
            refund(client, intent)
    requests.delete(f"{simulator.url}/_simulator/faults", timeout=5)
    assert refund(client, intent).status == "succeeded"


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"match": "POST /v1", "kind": "fire"}, "kind"),
        ({"kind": "delay"}, "match"),
        ({"match": "everything", "kind": "delay"}, "match"),
        ({"match": "POST /v1", "kind": "delay", "seconds": -1}, "seconds"),
        ({"match": "POST /v1", "kind": "error", "status": "500"}, "status"),
        ({"match": "POST /v1", "kind": "error", "times": True}, "times"),
        ({"match": "POST /v1", "kind": "error", "often": 2}, "often"),
        ([], "JSON object"),
    ],
)
def test_a_fault_that_is_none_is_refused_by_name(simulator: Simulator, body: Any, named: str) -> None:
    answer = requests.post(f"{simulator.url}/_simulator/faults", json=body, timeout=5)
    assert answer.status_code == 400
    assert named in answer.json()["error"]["message"]


# Webhooks


def test_every_change_sends_a_signed_event(
    client: stripe.StripeClient, simulator: Simulator, receiver: Receiver
) -> None:
    paid = pay(client, key="with-events")
    refunded = refund(client, paid, amount=1000)
    simulator.control(f"refunds/{refunded.id}/fail")
    dispute = simulator.control(f"charges/{paid.latest_charge}/dispute")
    simulator.control(f"charges/{paid.latest_charge}/dispute/close")
    waiting = pay(client, "pm_card_authenticationRequired")
    simulator.control(f"payment_intents/{waiting.id}/authenticate", outcome="process")
    simulator.control(f"payment_intents/{waiting.id}/authenticate", outcome="fail")
    client.v1.payment_intents.cancel(waiting.id)
    expected = {
        paid.id: ["payment_intent.succeeded"],
        paid.latest_charge: ["charge.refunded"],
        refunded.id: ["refund.created", "refund.failed", "refund.updated"],
        dispute["id"]: ["charge.dispute.closed", "charge.dispute.created"],
        waiting.id: [
            "payment_intent.canceled",
            "payment_intent.payment_failed",
            "payment_intent.processing",
            "payment_intent.requires_action",
        ],
    }
    wait_for(
        lambda: {object_id: receiver.types(object_id) for object_id in expected} == expected,
        5,
        lambda: str({object_id: receiver.types(object_id) for object_id in expected}),
    )
    (event,) = [event for event in receiver.events if event.data.object["id"] == paid.id]
    assert (event.object, event.livemode, event.request.idempotency_key) == ("event", False, "with-events")
    assert client.v1.events.retrieve(event.id).pending_webhooks == 0
    simulator.control(f"events/{event.id}/resend")
    wait_for(lambda: len(receiver.types(paid.id)) == 2, 5, "it was not sent again")


def test_events_wait_for_a_receiver_that_refuses(client: stripe.StripeClient, receiver: Receiver) -> None:
    receiver.refuse = True
    before = receiver.refused
    intent = pay(client)
    wait_for(lambda: receiver.refused >= before + 2, 5, "it was not tried again")
    (event,) = client.v1.events.list({"type": "payment_intent.succeeded", "limit": 1}).data
    assert event.pending_webhooks == 1
    receiver.refuse = False
    wait_for(lambda: receiver.types(intent.id), 10, "no webhook came")
    assert receiver.types(intent.id) == ["payment_intent.succeeded"]


def test_events_outlive_a_kill_while_the_receiver_is_away(start: Start) -> None:
    port = free_port()
    simulator = start(port)
    intent = pay(sdk(simulator))
    assert simulator.state()["counts"]["undelivered_webhooks"] == 1
    simulator.kill()
    receiver = Receiver(port)
    try:
        simulator.start()
        wait_for(lambda: receiver.types(intent.id), 5, "no webhook came")
        wait_for(lambda: simulator.state()["counts"]["undelivered_webhooks"] == 0, 5, "it is still kept")
    finally:
        receiver.close()


# The process


def test_a_kill_forgets_nothing_that_was_answered(start: Start) -> None:
    simulator = start()
    simulator.control("clock", advance_seconds=1000)
    simulator.fault("drop_after")
    with pytest.raises(stripe.APIConnectionError):
        pay(sdk(simulator), key="k9")
    simulator.kill()
    simulator.start()
    client = sdk(simulator)
    again = pay(client, key="k9")
    assert again.last_response.headers["Idempotent-Replayed"] == "true"
    assert [found.id for found in client.v1.payment_intents.list().data] == [again.id]
    assert again.created - time.time() > 900
    simulator.control("reset")
    assert client.v1.payment_intents.list().data == []
    assert pay(client, key="k9").id != again.id


def test_it_ends_quickly_also_when_answers_are_late(start: Start) -> None:
    simulator = start()
    simulator.fault("delay", seconds=60, times=0)

    def attempt() -> None:
        with pytest.raises(stripe.APIConnectionError):
            pay(sdk(simulator, timeout=30))

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(simulator.state()["charges"]) == 3, 5, "nothing was charged")
    assert simulator.stop(grace=30) == 0, "it waited for its late answers"
    for thread in threads:
        thread.join()
    others = {path.name for path in simulator.directory.iterdir()} - {"output.log"}
    assert {name.removesuffix("-wal").removesuffix("-shm") for name in others} == {"stripe.sqlite3"}


def run(simulator: Simulator) -> subprocess.CompletedProcess[str]:
    return subprocess.run(simulator.command(), capture_output=True, text=True, timeout=20, check=False)


def test_a_start_that_fails_says_why_in_one_line(tmp_path: Path) -> None:
    simulator = Simulator(tmp_path)
    with socket.create_server(("127.0.0.1", simulator.port)):
        done = run(simulator)
    assert done.returncode == 1
    assert done.stderr == f"Error: 127.0.0.1:{simulator.port} can't be used (Address already in use)\n"
    simulator = Simulator(tmp_path / "nowhere")
    done = run(simulator)
    assert done.returncode == 1
    assert done.stderr == f"Error: {tmp_path}/nowhere/stripe.sqlite3: unable to open database file\n"
