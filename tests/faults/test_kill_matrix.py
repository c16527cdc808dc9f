"""SIGKILL at every boundary between two servers, in every flow that moves money; then the outcome, in time.

A flow is run again and again, and the process that runs it dies one boundary later each time, until it
gets through. Then everything is started anew, and what clients, Stripe and the worker do anyway has to lead
to one charge, one final state and one event id, within the time that docs/architecture.md publishes.
"""

from __future__ import annotations

import json
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pytest
import requests
from pydantic import SecretStr

from app import create_app, models
from app.clock import utcnow
from app.idempotency import lease_for
from app.ids import new_id
from app.models import Transaction
from app.payments import states
from app.payments.orders import PaymentOrder
from app.payments.recovery import recover_due
from app.payments.service import make_payments
from app.settings import Settings
from tests.support.failpoints import Arming
from tests.support.servers import FailingApi, FailingWorker
from tests.support.stripe import signed
from tests.support.wait import wait_for, wait_within

if TYPE_CHECKING:
    from tests.support.stripe import StripeSimulator

SECRET = "whsec_tests"
CREATE = "POST /v1/payment_intents"
REFUND = "POST /v1/refunds"
PAYMENT = {"user_id": "user_1", "amount": 50, "payment_method": "credit_card"}

#: Seconds between two rounds of a sweep, and timeout for a loaded machine.
SWEEP, SLACK = 2, 6


@pytest.fixture
def paying(rabbit_settings: Settings, private_stripe: StripeSimulator) -> Settings:
    models.connect(rabbit_settings)
    models.create_indexes()  # otherwise the first processes would reach boundaries that later ones do not
    impatient = {
        "payment_gateway_connect_timeout": 1.0,
        "payment_gateway_read_timeout": 1.0,
        "payment_gateway_max_retries": 0,
        "stripe_webhook_secret": SecretStr(SECRET),
        "ratelimit_enabled": True,
        "ratelimit_payments": "10000 per minute",
    }
    return rabbit_settings.model_copy(update=private_stripe.settings | impatient)


@pytest.fixture
def api(paying: Settings, tmp_path: Path) -> Iterator[FailingApi]:
    api = FailingApi(tmp_path / "api", paying)
    api.start()
    yield api
    api.stop()


#: Delivers all webhooks about a PaymentIntent to a process that nobody kills.
Notify = Callable[[str], None]


@pytest.fixture
def notify(paying: Settings, private_stripe: StripeSimulator) -> Iterator[Notify]:
    app = create_app(paying)
    client = app.test_client()

    def deliver(gateway_id: str) -> None:
        for event in private_stripe.events(gateway_id):
            body, headers = signed(event, SECRET)
            assert client.post("/payment/webhook", data=body, headers=headers).status_code == 200

    yield deliver
    app.extensions["movieapp"].relay.close()


@pytest.fixture
def events(paying: Settings) -> Iterator[Callable[[], dict[str, set[str]]]]:
    """Return event type and transaction → ids of the events that other services have received so far."""
    received: dict[str, set[str]] = defaultdict(set)
    parameters = pika.URLParameters(paying.rabbitmq_url)
    parameters.heartbeat = 0  # no heartbeats are sent while processes are killed and restarted
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.exchange_declare(paying.rabbitmq_exchange, exchange_type="topic", durable=True)
        channel.queue_bind(queue, paying.rabbitmq_exchange, "payment.*")

        def collect() -> dict[str, set[str]]:
            while True:
                method, _, body = channel.basic_get(queue, auto_ack=True)
                if method is None or body is None:
                    return received
                event = json.loads(body)
                about = event.get("refund_transaction_id") or event["transaction_id"]
                received[f"{event['event_type']} {about}"].add(event["event_id"])

        yield collect


def post(api: FailingApi, path: str, body: Any, **headers: str) -> requests.Response | None:
    """Return the response; None if the process died before or during it."""
    try:
        return requests.post(f"{api.url}{path}", json=body, headers=headers, timeout=20)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return None


def _died_or(finished: Callable[[], Any], failpoints: Arming) -> bool:
    """Return whether the process reached its failpoint, or finished without it."""
    return failpoints.fired() or bool(finished())


def die_everywhere(
    api: FailingApi,
    act: Callable[[int], Any],
    thread: str = "request",
    finished: Callable[[int], bool] = lambda _: True,
    before_death: Callable[[int], None] | None = None,
) -> dict[int, str]:
    """Run a flow until it finishes. Return number → name of each boundary at which the process died.

    Args:
        api: dies.
        act: prepares the flow of that number, and gives what runs it.
        thread: whose boundaries are counted.
        finished: whether the flow of that number got through; it may go on after the answer.
        before_death: what happens elsewhere while the process stands at the boundary at which it will die.
    """
    died: dict[int, str] = {}
    with ThreadPoolExecutor(1) as client:
        for at in count(1):
            act_now = act(at)
            api.failpoints.arm(at, thread, signal.SIGSTOP if before_death else signal.SIGKILL)
            response = client.submit(act_now)
            got_through = partial(lambda at, response: response.done() and finished(at), at, response)
            wait_for(partial(_died_or, got_through, api.failpoints), 10, "it neither worked nor died")
            if not api.failpoints.disarm():
                response.result()
                return died
            died[at] = api.failpoints.last()
            if before_death:
                before_death(at)
                api.failpoints.kill()
            response.result()
            wait_for(api.ready, 20, "the API did not come back")
    raise AssertionError


def _outboxes() -> int:
    found: int = Transaction.objects(outbox_since__ne=None).count()
    return found


def _unsettled() -> list[Transaction]:
    return [
        payment
        for payment in Transaction.objects
        if payment.status in states.UNSETTLED or any(refund.status == "pending" for refund in payment.refunds)
    ]


def published_time(settings: Settings) -> float:
    """Return the seconds within which the outcome is recorded: see docs/architecture.md."""
    side = make_payments(settings)
    return side.recover_in.total_seconds() + SWEEP


def recover(paying: Settings, directory: Path, hours: int = 0) -> float:
    """Let a new worker find the outcome. Return the seconds that it took from its start."""
    with FailingWorker(directory, paying, hours):
        wait_for(lambda: (directory / "beat").exists(), 30, "the worker did not start")
        started = time.monotonic()
        limit = published_time(paying) + SLACK
        wait_within(lambda: not _unsettled() and not _outboxes(), limit, lambda: f"open: {_unsettled()}")
        return time.monotonic() - started


def output(matrix: dict[int, str], seconds: float) -> None:
    """Print where the process died and how long recovery took (pytest -s)."""
    for at, name in matrix.items():
        print(f"{at:3} {name}")  # noqa: T201
    print(  # noqa: T201
        f"killed {len(matrix)} times; the truth was on record {seconds:.1f} s after the restart"
    )


def until_answered(api: FailingApi, path: str, body: Any, key: str, limit: float) -> requests.Response:
    """Repeat a request with the same key until it gets a response."""
    responses: list[requests.Response] = []

    def ask() -> bool:
        response = post(api, path, body, **{"Idempotency-Key": key})
        assert response is not None
        responses.append(response)
        return response.status_code != 409

    wait_within(ask, limit, "the key is stuck")
    return responses[-1]


#: Stripe's behavior: it carries the request out and responds; it responds with 500, before or after the
#: charge, and replays that for the key; or it waits for a slow bank: a payment is `processing`, a refund
#: `pending`.
AS_USUAL: dict[str, Any] = {}
STORED_ERROR = {"kind": "error", "status": 500}
STORED_ERROR_OF_A_CHARGE = STORED_ERROR | {"after": True}
PENDING = {"kind": "pending"}


def _settle_at_the_bank(stripe: StripeSimulator) -> None:
    """Complete the payment at the slow bank."""
    for intent in stripe.state()["payment_intents"]:
        if intent["status"] == "processing":
            stripe.control(f"payment_intents/{intent['id']}/authenticate", outcome="succeed")


@pytest.mark.parametrize(
    ("meanwhile", "hours", "notified"),
    [
        (AS_USUAL, 0, False),
        (AS_USUAL, 25, False),
        (STORED_ERROR, 0, False),
        (STORED_ERROR_OF_A_CHARGE, 0, False),
        (PENDING, 0, False),
        (AS_USUAL, 0, True),
    ],
    ids=["as usual", "a day later", "stored error", "stored error of a charge", "processing", "webhook"],
)
def test_a_process_killed_during_a_payment(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    notify: Notify,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
    meanwhile: dict[str, Any],
    hours: int,
    notified: bool,
) -> None:
    """Stripe deletes a key after 24 hours: a request a day later must not charge again.

    With `notified`, another process handles the charge's webhooks before the first is killed.
    """

    def body(at: int) -> dict[str, Any]:
        # Each request has its own user, because ten unfinished attempts of one user would cause a lockout.
        return PAYMENT | {"booking_id": f"BOOK-{at}", "user_id": f"user_{at}"}

    def act(at: int) -> Callable[[], Any]:
        private_stripe.clear_faults()
        if meanwhile:
            private_stripe.fault(match=CREATE, **meanwhile)
        return lambda: post(api, "/payment/process", body(at), **{"Idempotency-Key": f"key-{at}"})

    def tell(at: int) -> None:
        for intent in private_stripe.state()["payment_intents"]:
            if intent["metadata"]["booking_id"] == f"BOOK-{at}":
                notify(intent["id"])
                assert Transaction.objects.get(booking_id=f"BOOK-{at}").status == "completed"

    matrix = die_everywhere(api, act, before_death=tell if notified else None)
    assert {"before gateway POST", "after gateway POST", "before MongoDB insert transaction_logs"} <= set(
        matrix.values()
    )
    private_stripe.clear_faults()
    _settle_at_the_bank(private_stripe)
    if hours:
        private_stripe.control("clock", advance_seconds=hours * 3600)
    seconds = recover(paying, tmp_path, hours)
    output(matrix, seconds)

    limit = lease_for(paying.gateway_time_budget).total_seconds() + SLACK
    for at in matrix:
        response = until_answered(api, "/payment/process", body(at), f"key-{at}", limit)
        payments = Transaction.objects(booking_id=f"BOOK-{at}").order_by("created_at")
        ended = [payment.status for payment in payments]
        if response.status_code == 202:  # the response to the first request before the process died
            assert meanwhile
            assert ended == ["failed" if meanwhile is STORED_ERROR else "completed"]
        else:
            # A request that never reached the gateway has failed by now, and repeating it makes a new
            # payment.
            assert response.status_code == 200, response.text
            assert ended in (["completed"], ["failed", "completed"])
        assert response.json()["transaction_id"] == payments[len(payments) - 1].id
        for payment in payments:
            assert len(private_stripe.charges(payment.id)) == (payment.status == "completed")
            assert [step.status for step in payment.history if step.status != "pending"] == [payment.status]
    wait_for(lambda: not _outboxes(), 20, "an event is stuck")
    assert len(private_stripe.charges()) == Transaction.objects(status="completed").count()
    received = events()
    assert len(received) == Transaction.objects.count()
    for payment in Transaction.objects:
        kind = {"completed": "payment.success", "failed": "payment.failed"}[payment.status]
        assert received[f"{kind} {payment.id}"] == {payment.history[-1].event_id}


#: The bank's decisions on a pending refund, in turn. A boundary after one exchange and the boundary before
#: the next leave the same state, so every state is tested with both.
BANK = ("succeed", "fail")


def _decide(stripe: StripeSimulator, payment: Transaction, at: int) -> bool:
    """Decide the pending refunds of a payment. Return whether there were any."""
    pending = [refund for refund in stripe.refunds(payment.gateway_id) if refund["status"] == "pending"]
    for refund in pending:
        stripe.control(f"refunds/{refund['id']}/{BANK[at % 2]}")
    return bool(pending)


@pytest.mark.parametrize(
    ("meanwhile", "notified"),
    [(AS_USUAL, False), (PENDING, False), (AS_USUAL, True), (PENDING, True)],
    ids=["as usual", "pending", "webhook", "pending, webhook"],
)
def test_a_process_killed_during_a_refund(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    notify: Notify,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
    meanwhile: dict[str, Any],
    notified: bool,
) -> None:
    """Stripe may keep a refund pending for days, and the bank may refuse it after all.

    With `notified`, the bank has decided, and another process handles the webhooks, while the first stands
    where it will die.
    """

    def payment_of(at: int) -> Transaction:
        payment: Transaction = Transaction.objects.get(booking_id=f"BOOK-{at}")
        return payment

    def body(at: int) -> dict[str, Any]:
        refund = {"original_transaction_id": payment_of(at).id, "booking_id": f"BOOK-{at}"}
        return refund | {"user_id": "user_1", "refund_amount": 20, "reason": "r"}

    def act(at: int) -> Callable[[], Any]:
        private_stripe.clear_faults()
        if meanwhile:
            private_stripe.fault(match=REFUND, **meanwhile)
        assert post(api, "/payment/process", PAYMENT | {"booking_id": f"BOOK-{at}"})
        wait_for(lambda: not _outboxes() or at > 1, 10, "the payment was not announced")
        requested = body(at)
        return lambda: post(api, "/payment/refund", requested, **{"Idempotency-Key": f"key-{at}"})

    def tell(at: int) -> None:
        payment = payment_of(at)
        _decide(private_stripe, payment, at)
        notify(payment.gateway_id)
        for refund in private_stripe.refunds(payment.gateway_id):
            ours = payment_of(at).refunds[0]
            assert (ours.status == "completed") == (refund["status"] == "succeeded")

    matrix = die_everywhere(api, act, before_death=tell if notified else None)
    assert {"before gateway POST", "after gateway POST"} <= set(matrix.values())
    private_stripe.clear_faults()
    every = [*matrix, len(matrix) + 1]
    if meanwhile:
        _due_in(timedelta(seconds=-10))
        recover_due(make_payments(paying))
        for at in every:
            payment = payment_of(at)
            kept = [
                one["id"] for one in private_stripe.refunds(payment.gateway_id) if one["status"] == "pending"
            ]
            ours = [refund.status for refund in payment.refunds if refund.gateway_id in kept]
            assert ours == ["pending"] * len(kept), "the bank has not decided yet"
            # Half of the decisions arrive by webhook, the rest by recovery.
            if _decide(private_stripe, payment, at) and at % 4 > 1:
                notify(payment.gateway_id)
        _due_in(timedelta(seconds=-10))
    output(matrix, recover(paying, tmp_path))
    limit = lease_for(paying.gateway_time_budget).total_seconds() + SLACK
    outcomes: set[tuple[object, ...]] = set()
    for at in every:
        response = until_answered(api, "/payment/refund", body(at), f"key-{at}", limit)
        payment = payment_of(at)
        *ruled_out, refund = payment.refunds
        (charge,) = private_stripe.charges(payment.id)
        at_stripe = [refund["status"] for refund in private_stripe.refunds(payment.gateway_id)]
        created = at_stripe == ["succeeded"]
        # A refund that never reached the gateway has failed by now, and repeating it makes a new refund.
        assert [(one.status, one.gateway_id) for one in ruled_out] in ([], [("failed", None)])
        assert created or at_stripe == ["failed"]
        assert (payment.status, refund.status, charge["amount_refunded"]) == (
            ("partially_refunded", "completed", 2000) if created else ("completed", "failed", 0)
        )
        # 202 is what the first request was told before the process died.
        assert response.status_code == (200 if created else 400) or (
            meanwhile and response.status_code == 202
        )
        assert payment.amount_refunded == payment.refund_reserved == Decimal(20 if created else 0)
        outcomes.add((len(ruled_out), *at_stripe))
    assert outcomes == {(0, "succeeded"), (1, "succeeded")} | ({(0, "failed")} if meanwhile else set())
    wait_for(lambda: not _outboxes(), 20, "an event is stuck")
    received = events()
    for payment in Transaction.objects:
        assert len(received[f"payment.success {payment.id}"]) == 1
        for refund in payment.refunds:
            created = refund.status == "completed"
            assert len(received.get(f"payment.refund {refund.id}", ())) == created


def test_a_process_killed_during_a_webhook(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
) -> None:
    sent: dict[int, dict[str, Any]] = {}

    def deliver(at: int) -> requests.Response | None:
        payload, headers = signed(sent[at], SECRET)
        try:
            return requests.post(f"{api.url}/payment/webhook", data=payload, headers=headers, timeout=20)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None

    def act(at: int) -> Callable[[], Any]:
        asks = {"booking_id": f"BOOK-{at}", "payment_token": "pm_card_authenticationRequired"}
        assert post(api, "/payment/process", PAYMENT | asks)
        intent = Transaction.objects.get(booking_id=f"BOOK-{at}").gateway_id
        private_stripe.control(f"payment_intents/{intent}/authenticate", outcome="succeed")
        (sent[at],) = (
            event for event in private_stripe.events(intent) if event["type"] == "payment_intent.succeeded"
        )
        return lambda: deliver(at)

    matrix = die_everywhere(api, act)
    assert {"before gateway GET", "after gateway GET"} <= set(matrix.values())
    for at in matrix:  # Stripe repeats unacknowledged webhooks, and sometimes acknowledged ones
        for _ in range(2):
            again = deliver(at)
            assert again is not None
            assert again.status_code == 200
    output(matrix, recover(paying, tmp_path))
    received = events()
    for payment in Transaction.objects:
        assert [step.status for step in payment.history] == ["pending", "requires_action", "completed"]
        assert len(private_stripe.charges(payment.id)) == 1
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}


def test_a_process_killed_in_the_relay(
    api: FailingApi, paying: Settings, events: Callable[[], dict[str, set[str]]], tmp_path: Path
) -> None:
    def act(at: int) -> Callable[[], Any]:
        return lambda: post(api, "/payment/process", PAYMENT | {"booking_id": f"BOOK-{at}"})

    def announced(at: int) -> bool:
        return bool(Transaction.objects(booking_id=f"BOOK-{at}", status="completed", outbox_since=None))

    matrix = die_everywhere(api, act, "outbox-relay", announced)
    assert {"before RabbitMQ publish", "after RabbitMQ publish"} <= set(matrix.values())
    output(matrix, recover(paying, tmp_path))
    received = events()
    assert Transaction.objects.count() == len(matrix) + 1
    for payment in Transaction.objects:
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}


def _lost_answer(paying: Settings, stripe: StripeSimulator, booking: str) -> None:
    """A payment that was charged, is still pending here, and is due for recovery."""
    stripe.fault(match=CREATE, kind="drop_after")
    _pay(paying, booking)
    Transaction.objects(booking_id=booking).update(set__recover_after=utcnow() - timedelta(seconds=1))


def _left_event(paying: Settings, _stripe: StripeSimulator, booking: str) -> None:
    """A payment whose process died before it published the event."""
    _pay(paying, booking)
    Transaction.objects(booking_id=booking).update(set__outbox_since=utcnow() - timedelta(seconds=10))


def _announced(booking: str) -> bool:
    """Return whether the booking's payment is completed and its event published."""
    return bool(Transaction.objects(booking_id=booking, status="completed", outbox_since=None))


def _due_in(time: timedelta) -> None:
    for field in ("recover_after", "outbox_since"):
        Transaction.objects(**{f"{field}__ne": None}).update(**{f"set__{field}": utcnow() + time})


def _pay(paying: Settings, booking: str) -> None:
    order = PaymentOrder("user_1", booking, Decimal(50), "USD", "credit_card")
    make_payments(paying).pay(order, new_id("TXN-"))


@pytest.mark.parametrize(
    ("thread", "leave"),
    [("payment recovery", _lost_answer), ("recovery_0", _lost_answer), ("outbox-relay", _left_event)],
)
def test_a_worker_killed_during_recovery(
    paying: Settings,
    private_stripe: StripeSimulator,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
    thread: str,
    leave: Callable[[Settings, StripeSimulator, str], None],
) -> None:
    failpoints = Arming(tmp_path / "failpoints")
    died: dict[int, str] = {}
    for at in count(1):
        _due_in(timedelta(hours=1))  # data of earlier processes does not affect this one
        leave(paying, private_stripe, booking := f"BOOK-{at}")
        failpoints.arm(at, thread)
        with FailingWorker(tmp_path, paying):
            wait_for(
                partial(_died_or, partial(_announced, booking), failpoints),
                30,
                "the worker neither worked nor died",
            )
        if not failpoints.disarm():
            break
        died[at] = failpoints.last()
    _due_in(timedelta(seconds=-10))
    output(died, recover(paying, tmp_path))
    received = events()
    assert Transaction.objects.count() == at
    for payment in Transaction.objects:
        assert [step.status for step in payment.history] == ["pending", "completed"]
        assert len(private_stripe.charges(payment.id)) == 1
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}
