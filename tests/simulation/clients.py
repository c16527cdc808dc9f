"""Users of the program: frontends that retry, customers who confirm, operators, and foreign applications at
Stripe.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.errors import Problem
from app.payments.orders import CancelOrder, PaymentOrder, RefundOrder
from app.payments.states import PAID, UNPAID, UNSETTLED
from tests.simulation.scheduler import Signal
from tests.simulation.site import Response, Site, look_up
from tests.simulation.stripe_books import NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.payments.records import Payment
    from tests.simulation.plan import Step

_USER = "user_1"

#: Statuses after which a client retries.
_RETRIED = frozenset({202, 500, 502, 503})


class Clients:
    """Carries out the steps of a plan."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._world = site.world
        #: Idempotency-Keys in use → the request that each belongs to.
        self.keys: dict[str, tuple[str, Any]] = {}
        #: Client secrets that a customer has received.
        self._given: set[str] = set()

    def start(self, number: int, step: Step) -> None:
        """Carry out a step at its time."""
        name = f"{number}-{step.kind}"
        options = step.options
        if step.kind in ("recover", "publish", "reconcile"):
            self._site.sweep(name, getattr(self._site, step.kind), after=step.at)
            return
        self._world.spawn(name, "", lambda: getattr(self, f"_{step.kind}")(name, options), after=step.at)

    # Requests

    def _pay(self, name: str, options: Mapping[str, Any]) -> None:
        element = options["method"] == "element"
        order = PaymentOrder(
            user_id=_USER,
            booking_id=options["booking"],
            amount=Decimal(options["amount"]),
            currency="USD",
            payment_method="stripe" if element else "credit_card",
            payment_token=None if element else options["method"],
            replace_open=options["replace_open"],
        )
        self._request_until_final(name, "pay", order, options)

    def _refund(self, name: str, options: Mapping[str, Any]) -> None:
        payment = self._newest(options["booking"], PAID)
        if payment is None:
            return
        amount = options["amount"] and Decimal(options["amount"])
        order = RefundOrder(payment.id, payment.booking_id, _USER, "changed my mind", amount)
        self._request_until_final(name, "refund", order, options)

    def _cancel(self, name: str, options: Mapping[str, Any]) -> None:
        payment = self._newest(options["booking"], UNSETTLED) or self._newest(options["booking"])
        if payment:
            order = CancelOrder(payment.id, payment.booking_id, _USER)
            self._request_until_final(name, "cancel", order, options)

    def _request_until_final(self, name: str, kind: str, order: Any, options: Mapping[str, Any]) -> None:
        """Send a request until it has a final response or the client stops retrying."""
        key = f"key-{name}" if options["key"] else None
        if key:
            self.keys[key] = (kind, order)
        for attempt in range(options["tries"]):
            process = self._world.current.random.choice(("api-1", "api-2"))
            response = self.request(f"{name}/{attempt}", kind, process, order, key, options["patience"])
            if response and response.action:
                self._customer(response.action.client_secret, options)
            if response and response.status not in _RETRIED and response.code != "IDEMPOTENCY_CONFLICT":
                return
            self._world.sleep(options["pause"])

    def request(
        self, name: str, kind: str, process: str, order: Any, key: str | None, timeout_seconds: float
    ) -> Response | None:
        """Send one request; None if no response came within `timeout_seconds` seconds."""
        signal = Signal()

        def serve() -> None:
            self._world.set(signal, self._site.serve(kind, process, order, key))

        self._world.spawn(name, process, serve)
        response: Response | None = signal.value if self._world.wait(signal, timeout_seconds) else None
        return response

    def _status(self, name: str, options: Mapping[str, Any]) -> None:
        payment = self._newest(options["booking"])
        if payment is None:
            return
        self._world.spawn(f"{name}/0", "api-1", lambda: self._show(payment.id))

    def _show(self, transaction_id: str) -> None:
        try:
            action = look_up(self._site, "api-1", transaction_id)
        except Problem as problem:
            self._world.log(f"status: {problem.code}")
            return
        if action:
            self._customer(action.client_secret, {"customer": "confirms", "customer_delay": 20.0})

    def _newest(self, booking: str, statuses: frozenset[Any] | None = None) -> Payment | None:
        found = list(self._site.stores.ledger.search(100, booking_id=booking))
        return next((one for one in found if statuses is None or one.status in statuses), None)

    # Customers

    def _customer(self, secret: str, options: Mapping[str, Any]) -> None:
        if secret in self._given:
            return
        self._given.add(secret)
        delay, manner = options["customer_delay"], options["customer"]
        if manner == "leaves":
            return
        self._confirm_later(secret, delay, manner == "confirms")
        if manner == "fails, then confirms":
            self._confirm_later(secret, 2 * delay + 1, True)

    def _confirm_later(self, secret: str, delay: float, succeeds: bool) -> None:
        def confirm() -> None:
            self._site.books.confirm(secret, succeeds, ("customer", self._world.now))

        self._world.after(delay, confirm)

    # Others

    def _foreign(self, _name: str, options: Mapping[str, Any]) -> None:
        payment = self._newest(options["booking"])
        metadata = {
            "namespace": NAMESPACE,
            "transaction_id": payment.id if payment else "TXN-unknown",
            "booking_id": options["booking"],
            "user_id": _USER,
        }
        amount, currency = 2500, "usd"
        # With our namespace and an unknown id, it would be one of ours from before a restored backup.
        match options["copies"] if payment else "namespace":
            case "namespace":
                metadata["namespace"] = "another"
            case "amount":
                amount = 50
            case "booking":
                metadata["booking_id"] = "BOOK-another"
            case "currency":
                currency = "eur"
        self._site.books.make_foreign(metadata, amount, currency)

    def _dashboard_refund(self, _name: str, options: Mapping[str, Any]) -> None:
        books = self._site.books
        for intent in books.intents.values():
            left = intent["amount"] - books.refunded(intent["id"], "succeeded", "pending")
            ours = not intent["foreign"] and intent["metadata"].get("booking_id") == options["booking"]
            if ours and intent["status"] == "succeeded" and left:
                books.make_refund(intent, min(left, 700), {})
                return

    def _stray_charge(self, _name: str, options: Mapping[str, Any]) -> None:
        """Charge a declined payment anyway, as if another customer had confirmed it at Stripe."""
        books = self._site.books
        for intent in books.intents.values():
            ours = not intent["foreign"] and intent["metadata"].get("booking_id") == options["booking"]
            record = self._site.stores.ledger.find(intent["metadata"].get("transaction_id", ""))
            if ours and intent["status"] == "requires_payment_method" and record and record.status in UNPAID:
                intent["stray"] = True
                books.confirm(intent["client_secret"], True, ("stray", self._world.now))
                return

    # Faults

    def _gateway_down(self, _name: str, options: Mapping[str, Any]) -> None:
        self._world.gateway_down_until = self._world.now + options["seconds"]

    def _database_down(self, _name: str, options: Mapping[str, Any]) -> None:
        self._world.database_down_until = self._world.now + options["seconds"]
