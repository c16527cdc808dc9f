"""SIGKILL at every boundary between two servers, of every flow that moves money; then the truth, in time.

A flow is run again and again, and the process that runs it dies one boundary later each time, until it
gets through. Then everything is started anew, and what clients, Stripe and the worker do anyway has to lead
to one charge, one final state and one event id, within the time that docs/architecture.md publishes.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
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

from app import models
from app.clock import utcnow
from app.idempotency import lease_for
from app.ids import new_id
from app.models import Transaction
from app.payments import states
from app.payments.orders import PaymentOrder
from app.payments.service import make_payments
from app.settings import Settings
from devtools.stripe_simulator.webhooks import signature
from tests.support.failpoints import Arming
from tests.support.servers import FailingApi, FailingWorker
from tests.support.wait import wait_for, wait_within

if TYPE_CHECKING:
    from tests.support.stripe import StripeSimulator

pytestmark = pytest.mark.timeout(600)

SECRET = "whsec_tests"
CREATE = "POST /v1/payment_intents"
PAYMENT = {"user_id": "user_1", "amount": 50, "payment_method": "credit_card"}

#: Seconds between two rounds of a sweep, and for a loaded machine to do its work in.
SWEEP, SLACK = 2, 6


@pytest.fixture
def paying(rabbit_settings: Settings, private_stripe: StripeSimulator) -> Settings:
    models.connect(rabbit_settings)
    models.create_indexes()  # else the first lives of a process meet boundaries that later ones do not
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


@pytest.fixture
def events(paying: Settings) -> Iterator[Callable[[], dict[str, set[str]]]]:
    """Event type and transaction → ids of the events that other services have received so far."""
    received: dict[str, set[str]] = defaultdict(set)
    parameters = pika.URLParameters(paying.rabbitmq_url)
    parameters.heartbeat = 0  # nobody answers heartbeats while processes die and come back
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
    """The answer; None if the process died, before it or in the middle of it."""
    try:
        return requests.post(f"{api.url}{path}", json=body, headers=headers, timeout=20)
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        return None


def _died_or(finished: Callable[[], Any], failpoints: Arming) -> bool:
    """Whether the process reached its failpoint, or got through without it."""
    return failpoints.fired() or bool(finished())


def die_everywhere(
    api: FailingApi,
    act: Callable[[int], Any],
    thread: str = "request",
    finished: Callable[[int], bool] = lambda _: True,
) -> dict[int, str]:
    """Run a flow until it gets through; number → name of each boundary at which the process died.

    Args:
        api: dies.
        act: prepares the flow of that number, and gives what runs it.
        thread: whose boundaries are counted.
        finished: whether the flow of that number got through; it may go on after the answer.
    """
    died: dict[int, str] = {}
    for at in count(1):
        act_now = act(at)
        api.failpoints.arm(at, thread)
        act_now()
        wait_for(partial(_died_or, partial(finished, at), api.failpoints), 10, "it neither worked nor died")
        if not api.failpoints.disarm():
            return died
        died[at] = api.failpoints.last()
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
    """Seconds within which the truth is on record: see docs/architecture.md."""
    side = make_payments(settings)
    return side.recover_in.total_seconds() + SWEEP


def recover(paying: Settings, directory: Path, hours: int = 0) -> float:
    """Let a new worker find the truth; seconds that it took from its start."""
    with FailingWorker(directory, paying, hours):
        wait_for(lambda: (directory / "beat").exists(), 30, "the worker did not start")
        started = time.monotonic()
        limit = published_time(paying) + SLACK
        wait_within(lambda: not _unsettled() and not _outboxes(), limit, lambda: f"open: {_unsettled()}")
        return time.monotonic() - started


def told(matrix: dict[int, str], seconds: float) -> None:
    """Show on standard output (pytest -s) where the process died and how long the truth took."""
    for at, name in matrix.items():
        print(f"{at:3} {name}")  # noqa: T201
    print(  # noqa: T201
        f"killed {len(matrix)} times; the truth was on record {seconds:.1f} s after the restart"
    )


def until_answered(api: FailingApi, path: str, body: Any, key: str, limit: float) -> requests.Response:
    """What a client does that lost an answer: ask again, with the same key, until it gets one."""
    answers: list[requests.Response] = []

    def ask() -> bool:
        answer = post(api, path, body, **{"Idempotency-Key": key})
        assert answer is not None
        answers.append(answer)
        return answer.status_code != 409

    wait_within(ask, limit, "the key is stuck")
    return answers[-1]


@pytest.mark.parametrize("hours", [0, 25])
def test_process(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
    hours: int,
) -> None:
    """Stripe forgets a key after 24 hours: what is asked for a day later must not charge again."""

    def body(at: int) -> dict[str, Any]:
        return PAYMENT | {"booking_id": f"BOOK-{at}"}

    def act(at: int) -> Callable[[], Any]:
        return lambda: post(api, "/payment/process", body(at), **{"Idempotency-Key": f"key-{at}"})

    matrix = die_everywhere(api, act)
    assert {"before gateway POST", "after gateway POST", "before MongoDB insert transaction_logs"} <= set(
        matrix.values()
    )
    if hours:
        url = f"{private_stripe.url}/_simulator/clock"
        requests.post(url, json={"advance_seconds": hours * 3600}, timeout=5).raise_for_status()
    seconds = recover(paying, tmp_path, hours)
    told(matrix, seconds)

    limit = lease_for(paying.gateway_time_budget).total_seconds() + SLACK
    for at in matrix:
        answer = until_answered(api, "/payment/process", body(at), f"key-{at}", limit)
        # What never reached the gateway has failed by now; the client that repeats its request pays anew.
        assert answer.status_code == 200
        payments = Transaction.objects(booking_id=f"BOOK-{at}").order_by("created_at")
        assert [payment.status for payment in payments] in (["completed"], ["failed", "completed"])
        assert answer.json()["transaction_id"] == payments[len(payments) - 1].id
        for payment in payments:
            assert len(private_stripe.charges(payment.id)) == (payment.status == "completed")
            assert [step.status for step in payment.history] == ["pending", payment.status]
    wait_for(lambda: not _outboxes(), 20, "an event is stuck")
    assert len(private_stripe.charges()) == Transaction.objects(status="completed").count()
    received = events()
    assert len(received) == Transaction.objects.count()
    for payment in Transaction.objects:
        kind = {"completed": "payment.success", "failed": "payment.failed"}[payment.status]
        assert received[f"{kind} {payment.id}"] == {payment.history[-1].event_id}


def test_refund(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
) -> None:
    def body(at: int) -> dict[str, Any]:
        payment = Transaction.objects.get(booking_id=f"BOOK-{at}")
        refund = {"original_transaction_id": payment.id, "booking_id": f"BOOK-{at}", "refund_amount": 20}
        return refund | {"user_id": "user_1", "reason": "r"}

    def act(at: int) -> Callable[[], Any]:
        assert post(api, "/payment/process", PAYMENT | {"booking_id": f"BOOK-{at}"})
        wait_for(lambda: not _outboxes() or at > 1, 10, "the payment was not announced")
        asked = body(at)
        return lambda: post(api, "/payment/refund", asked, **{"Idempotency-Key": f"key-{at}"})

    matrix = die_everywhere(api, act)
    assert {"before gateway POST", "after gateway POST"} <= set(matrix.values())
    told(matrix, recover(paying, tmp_path))
    limit = lease_for(paying.gateway_time_budget).total_seconds() + SLACK
    refunded = 0
    for at in matrix:
        answer = until_answered(api, "/payment/refund", body(at), f"key-{at}", limit)
        payment = Transaction.objects.get(booking_id=f"BOOK-{at}")
        (refund,) = payment.refunds
        (charge,) = private_stripe.charges(payment.id)
        # What never reached the gateway is reported failed: a refund is not made later behind anybody's back.
        made = answer.status_code == 200
        assert (payment.status, refund.status, charge["amount_refunded"]) == (
            ("partially_refunded", "completed", 2000) if made else ("completed", "failed", 0)
        )
        assert answer.status_code in (200, 400)
        assert payment.amount_refunded == payment.refund_reserved == Decimal(20 if made else 0)
        refunded += made
    assert 0 < refunded < len(matrix)
    wait_for(lambda: not _outboxes(), 20, "an event is stuck")
    received = events()
    for payment in Transaction.objects:
        assert len(received[f"payment.success {payment.id}"]) == 1
        made = payment.refunds[0].status == "completed"
        assert len(received.get(f"payment.refund {payment.refunds[0].id}", ())) == made


def test_webhook(
    api: FailingApi,
    paying: Settings,
    private_stripe: StripeSimulator,
    events: Callable[[], dict[str, set[str]]],
    tmp_path: Path,
) -> None:
    sent: dict[int, bytes] = {}

    def deliver(at: int) -> requests.Response | None:
        headers = {"Stripe-Signature": signature(sent[at], SECRET, int(time.time()))}
        try:
            return requests.post(f"{api.url}/payment/webhook", data=sent[at], headers=headers, timeout=20)
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            return None

    def act(at: int) -> Callable[[], Any]:
        asks = {"booking_id": f"BOOK-{at}", "payment_token": "pm_card_authenticationRequired"}
        assert post(api, "/payment/process", PAYMENT | asks)
        intent = Transaction.objects.get(booking_id=f"BOOK-{at}").gateway_id
        url = f"{private_stripe.url}/_simulator/payment_intents/{intent}/authenticate"
        subject = requests.post(url, json={"outcome": "succeed"}, timeout=5).json()
        event = {
            "id": f"evt_{uuid.uuid4().hex}",
            "livemode": False,
            "created": 1,
            "data": {"object": subject},
        }
        sent[at] = json.dumps(event | {"type": "payment_intent.succeeded"}).encode()
        return lambda: deliver(at)

    matrix = die_everywhere(api, act)
    assert {"before gateway GET", "after gateway GET"} <= set(matrix.values())
    for at in matrix:  # Stripe delivers again what was not answered, and sometimes what was
        for _ in range(2):
            again = deliver(at)
            assert again is not None
            assert again.status_code == 200
    told(matrix, recover(paying, tmp_path))
    received = events()
    for payment in Transaction.objects:
        assert [step.status for step in payment.history] == ["pending", "requires_action", "completed"]
        assert len(private_stripe.charges(payment.id)) == 1
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}


def test_relay(
    api: FailingApi, paying: Settings, events: Callable[[], dict[str, set[str]]], tmp_path: Path
) -> None:
    def act(at: int) -> Callable[[], Any]:
        return lambda: post(api, "/payment/process", PAYMENT | {"booking_id": f"BOOK-{at}"})

    def announced(at: int) -> bool:
        return bool(Transaction.objects(booking_id=f"BOOK-{at}", status="completed", outbox_since=None))

    matrix = die_everywhere(api, act, "outbox-relay", announced)
    assert {"before RabbitMQ publish", "after RabbitMQ publish"} <= set(matrix.values())
    told(matrix, recover(paying, tmp_path))
    received = events()
    assert Transaction.objects.count() == len(matrix) + 1
    for payment in Transaction.objects:
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}


def _lost_answer(paying: Settings, stripe: StripeSimulator, booking: str) -> None:
    """A payment that was charged, is pending here, and is due to be asked after."""
    stripe.fault(match=CREATE, kind="drop_after")
    _pay(paying, booking)
    Transaction.objects(booking_id=booking).update(set__recover_after=utcnow() - timedelta(seconds=1))


def _left_event(paying: Settings, _stripe: StripeSimulator, booking: str) -> None:
    """A payment whose process died before it announced it."""
    _pay(paying, booking)
    Transaction.objects(booking_id=booking).update(set__outbox_since=utcnow() - timedelta(seconds=10))


def _announced(booking: str) -> bool:
    """Whether the booking's payment is completed and its event published."""
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
def test_the_worker_that_recovers(
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
        _due_in(timedelta(hours=1))  # what earlier lives have left is not in this one's way
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
    told(died, recover(paying, tmp_path))
    received = events()
    assert Transaction.objects.count() == at
    for payment in Transaction.objects:
        assert [step.status for step in payment.history] == ["pending", "completed"]
        assert len(private_stripe.charges(payment.id)) == 1
        assert received[f"payment.success {payment.id}"] == {payment.history[-1].event_id}
