"""The program under test: its processes, and how they handle requests, webhooks, and timers."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from greenlet import GreenletExit

from app.api.errors import STATUS
from app.clock import iso, utcnow
from app.errors import GatewayError, Problem, ServiceUnavailable
from app.gateway import GatewayEvent
from app.gateway.stripe.events import change_of
from app.gateway.stripe.gateway import StripeGateway
from app.idempotency import Attempt, StoredResponse, begin, lease_for
from app.ids import new_id
from app.payments import attempts, outbox, webhooks
from app.payments.books import Books
from app.payments.reconcile import Reconciliation, repaired
from app.payments.recovery import recover_due
from app.payments.service import Payments
from app.payments.states import UNPAID, UNSETTLED, PaymentStatus, RefundStatus
from app.settings import Settings
from tests.simulation.api import SimulatedApi
from tests.simulation.scheduler import START, Signal
from tests.simulation.stores import Stores
from tests.simulation.stripe_books import NAMESPACE, StripeBooks

if TYPE_CHECKING:
    from app.gateway import ActionRequired
    from app.payments.orders import CancelOrder, PaymentOrder, RefundOrder
    from app.payments.records import Payment, Refund
    from tests.simulation.world import World

PROCESSES = ("api-1", "api-2", "worker")

#: Number of attempts by Stripe to deliver an event.
_REDELIVERIES = 9

Order = Any


@dataclass(frozen=True, slots=True)
class Response:
    """The response to a request.

    Attributes:
        kind: pay, refund, or cancel.
        transaction_id: of the payment or refund that the request creates.
        born: time at which the request arrived.
        at: time of the response or, for a refusal, of the decision, because the response may be slow.
        key: its Idempotency-Key.
        replayed: whether it is the response to another attempt.
        stored: whether it is stored for the key.
        action: the customer's required action.
    """

    kind: str
    transaction_id: str
    born: float
    at: float
    key: str | None
    status: int
    body: bytes
    code: str | None = None
    replayed: bool = False
    stored: bool = False
    action: ActionRequired | None = None


@cache
def settings() -> Settings:
    """The program's settings: three gateway calls at a time in each process, the rest as in production."""
    values: dict[str, Any] = {
        "payment_gateway_api_key": "sk_test_x",
        "namespace": NAMESPACE,
        "web_threads": 4,
    }
    return Settings(_env_file=None, **values)


class Site:
    """The processes of the program, on stores that survive them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.stores = Stores(world)
        self.books = StripeBooks(world, self._deliver)
        self.responses: list[Response] = []
        #: Webhooks that the gateway no longer delivers, after all its attempts failed.
        self.webhooks_given_up = 0
        self.payments: dict[str, Payments] = {}
        self._lease = lease_for(settings().gateway_time_budget)
        for process in PROCESSES:
            self._start(process)
        world.restart = self._start

    def _start(self, process: str) -> None:
        api = SimulatedApi(self.world, self.books, settings())
        books = Books(
            self.stores.remote_ledger, lambda booking: self._relay(process, booking), self.world.sleep
        )
        self.payments[process] = Payments(settings(), StripeGateway(settings(), api), books)

    # Requests

    def serve(self, kind: str, process: str, order: Order, key: str | None) -> Response:
        """Handle a request as the API does, without HTTP."""
        payments, born = self.payments[process], self.world.now
        actor = self.world.current
        if actor is None:
            raise RuntimeError("only actors serve requests")
        transaction_id = new_id("REF-" if kind == "refund" else "TXN-")
        attempt = Attempt(transaction_id)
        action, code, replayed, decided = None, None, False, None
        try:
            if key:
                fingerprint = f"{kind} {order}"
                attempt = begin(self.stores.remote_claims, key, fingerprint, transaction_id, self._lease)
                # Until then, it was a request that the network could have delivered just as late.
                actor.born = self.world.now
            replayed = attempt.replayed is not None
            if attempt.replayed:
                sent = attempt.replayed
            else:
                try:
                    status, body, action = _ACTS[kind](payments, order, attempt)
                except Problem as problem:
                    decided = self.world.now
                    if not attempt.ended_by(problem):
                        raise
                    code = problem.code
                    status, body = _problem(problem)
                own = StoredResponse(status, {}, body)
                sent = attempt.finish(own)
                replayed = sent is not own
        except Problem as problem:
            code = problem.code
            status, body = _problem(problem)
            sent = StoredResponse(status, {}, body)
        except Exception:  # the API responds to every defect with 500
            self.world.problem(f"500 INTERNAL_ERROR\n{traceback.format_exc()}")
            sent, code = StoredResponse(500, {}, b""), "INTERNAL_ERROR"
        response = Response(
            kind,
            attempt.transaction_id,
            born,
            self.world.now if decided is None else decided,
            key,
            sent.status,
            sent.body,
            code,
            replayed,
            sent is self._stored(key),
            action,
        )
        self.responses.append(response)
        self.world.log(f"answers {response.status} {response.body.decode()} to {kind} key={key}")
        return response

    def _stored(self, key: str | None) -> StoredResponse | None:
        claim = self.stores.claims.find(key) if key else None
        return claim.response if claim else None

    # Spontaneous actions

    def _relay(self, process: str, booking: str) -> None:
        """Publish the events of a change, as the relay of a process does."""

        def act() -> None:
            outbox.publish_bookings(self.stores.remote_ledger, self.stores.broker, {booking})

        self.world.spawn(f"relay {booking}", process, self._guarded(act), after=0.1)

    def recover(self, process: str = "worker") -> None:
        """Run one round of the recovery sweep."""
        recover_due(self.payments[process], run=self._run_together)

    def publish(self) -> None:
        """Run one round of the outbox sweep."""
        outbox.sweep(self.stores.remote_ledger, self.stores.broker)

    def reconcile(self) -> None:
        """Reconcile as an operator, and repair every difference."""
        since = START - timedelta(days=1)
        for difference in Reconciliation(self.payments["worker"], since).differences():
            done = repaired(difference)
            self.world.log(f"reconcile {done.kind}: {done.detail}: {done.repaired}")

    def sweep(self, name: str, act: Callable[[], None], *, after: float = 0.0) -> None:
        """Start a task of the worker."""
        self.world.spawn(name, "worker", self._guarded(act), after=after)

    def _guarded(self, act: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                act()
            except (GatewayError, ServiceUnavailable) as error:
                self.world.log(f"gives up: {error}")
            except Exception:
                self.world.problem(f"a sweep failed\n{traceback.format_exc()}")

        return run

    def _run_together(self, act: Callable[[Any], None], items: Sequence[Any]) -> None:
        """Run recovery's threads as actors."""
        if len(items) == 1:
            act(items[0])
            return
        signals = []
        for item in items:
            signal = Signal()
            signals.append(signal)

            def run(item: Any = item, signal: Signal = signal) -> None:
                try:
                    act(item)
                finally:
                    self.world.set(signal, None)

            process = self.world.current.process if self.world.current else ""
            self.world.spawn(f"recover {item.id[:8]}", process, self._guarded(run))
        for signal in signals:
            self.world.wait(signal, 1e6)

    def _deliver(self, delay: float, event: dict[str, Any], tries: int = 0) -> None:
        def again() -> None:
            if tries < _REDELIVERIES:
                self._deliver(30.0 * 4**tries, event, tries + 1)
            else:
                self.webhooks_given_up += 1

        def act() -> None:
            change = change_of(event["type"], event["data"])
            created = START + timedelta(seconds=event["created"] - START.timestamp())
            delivery = GatewayEvent(event["id"], event["type"], False, created, change)
            try:
                webhooks.handle(self.payments["api-2"], delivery, self.stores.webhooks)
            except (GatewayError, ServiceUnavailable) as error:
                self.world.log(f"webhook {event['type']} not handled: {error}")
                again()
            except GreenletExit:
                again()
                raise
            except Exception:
                self.world.problem(f"a webhook failed\n{traceback.format_exc()}")

        self.world.spawn(f"webhook {event['id']} {event['type']}", "api-2", act, after=delay)


_Answer = tuple[int, bytes, "ActionRequired | None"]


def _pay(payments: Payments, order: PaymentOrder, attempt: Attempt) -> _Answer:
    result = attempts.pay(payments, order, attempt, lambda one: f"https://shop.example/{one}")
    status, body = _payment(result.payment)
    if result.action:
        body += f" {result.action.client_secret}".encode()
    return status, body, result.action


def _payment(payment: Payment) -> tuple[int, bytes]:
    status = 400 if payment.status in UNPAID else 202 if payment.status in UNSETTLED else 200
    shown = payment.status if status != 200 else "success"
    when = payment.processed_at and iso(payment.processed_at)
    return status, f"{shown} {payment.id} {payment.error_code} {when}".encode()


def _refund(payments: Payments, order: RefundOrder, attempt: Attempt) -> _Answer:
    payment, refund = attempts.refund(payments, order, attempt)
    return *_refunded(payment, refund), None


def _refunded(payment: Payment, refund: Refund) -> tuple[int, bytes]:
    done = refund.status == RefundStatus.COMPLETED
    when = refund.processed_at and iso(refund.processed_at)
    body = f"{'success' if done else 'pending'} {refund.id} of {payment.id} {refund.amount} {when}"
    return 200 if done else 202, body.encode()


def _cancel(payments: Payments, order: CancelOrder, _attempt: Attempt) -> _Answer:
    payment = payments.cancel(order)
    return 200, f"{payment.status} {payment.id}".encode(), None


def _problem(problem: Problem) -> tuple[int, bytes]:
    return STATUS[
        problem.code
    ], f"{problem.code} {problem.message} {problem.details} {iso(utcnow())}".encode()


_ACTS: dict[str, Callable[[Payments, Any, Attempt], _Answer]] = {
    "pay": _pay,
    "refund": _refund,
    "cancel": _cancel,
}


def look_up(site: Site, process: str, transaction_id: str) -> ActionRequired | None:
    """GET /payment/status: return the customer's required action."""
    payments = site.payments[process]
    payment = payments.books.get(transaction_id)
    if payment.status != PaymentStatus.REQUIRES_ACTION:
        return None
    return payments.look_up(payment).action
