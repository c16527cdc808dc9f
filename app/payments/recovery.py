"""Recovery: the sweep that finds the outcome of payments and refunds whose response never arrived.

Recovery looks up outcomes, and never repeats a request. A repeated request returns the first one's stored
result, including errors, or may be carried out after all. Recovery looks up known gateway ids one by one, and
everything else in one listing. If the gateway has no payment, recovery uses up the idempotency key, so that a
late request can't be carried out. Only then does the payment count as failed.

One listing serves all due payments, however many. A process claims them in batches, so that the processes
share a backlog.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.clock import utcnow
from app.errors import GatewayError, ServiceUnavailable
from app.gateway import KEY_MEMORY, GatewayPayment, GatewayRefund, Refused
from app.payments import changes
from app.payments.agreement import agrees
from app.payments.states import UNSETTLED, Actor
from app.telemetry import tracing
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.records import Payment, Refund
    from app.payments.service import Payments

log = get_logger(__name__)

#: Maximum number of payments of one round, which share one listing.
ROUND_SIZE = 10_000

#: Number of payments claimed together. Other processes claim the rest.
CLAIM_SIZE = 100

#: Maximum number of concurrent gateway calls.
CONCURRENT_CALLS = 8

#: The longest interval between two lookups of a payment.
LONGEST_PAUSE = timedelta(minutes=5)

#: Maximum difference between the gateway's clock and ours.
CLOCK_SKEW = timedelta(minutes=5)

#: Time within which a request that was carried out appears in the gateway's list, short enough for an
#: operator to wait.
_LISTED_WITHIN = 2 * CLOCK_SKEW

#: Time windows closer than this are merged.
_WINDOW_GAP = timedelta(minutes=30)

_NEVER_CARRIED_OUT = Refused("the request never reached the gateway")

Run = Callable[[Callable[[Any], None], Sequence[Any]], None]

Seal = Callable[[str, Decimal, str], bool]


def run_in_threads(act: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `act` with each of `items` in a few threads."""
    with ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="recovery") as pool:
        list(pool.map(act, items))


def recover_due(
    payments: Payments, limit: int = ROUND_SIZE, *, actor: Actor = Actor.RECOVERY, run: Run = run_in_threads
) -> int:
    """Look up all overdue outcomes. Safe in many processes at once.

    Args:
        payments: the payment side.
        limit: maximum number of payments in one round.
        actor: who looks up.
        run: calls a function with each item, in any order, possibly concurrently.

    Returns:
        The number of claimed payments.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    return _Round(payments, actor, run).work(limit)


def settle_listed(payments: Payments, payment: Payment, actor: Actor) -> Payment | None:
    """Look for a payment without a gateway id in the gateway's list, and record the outcome.

    It only looks. If the payment is not listed, a late request may still arrive. The sweep excludes that
    before the payment counts as failed.

    Args:
        payments: the payment side.
        payment: an unsettled payment without a gateway id.
        actor: who looks up.

    Returns:
        The current payment; None if the gateway does not list it near the time of its last request.

    Raises:
        GatewayError: the gateway is unavailable.
        ServiceUnavailable: the database is unavailable.
    """
    since, until = payment.created_at - CLOCK_SKEW, payment.last_attempt + _LISTED_WITHIN
    for charge in payments.gateway.payments(since, until):
        if charge.transaction_id == payment.id and agrees(payment, charge, payments.settings.namespace):
            return payments.settle_by(payment, charge, actor).payment
    return None


class _Claim:
    """A claim on the payments in hand, valid while it is renewed."""

    def __init__(self, payments: Payments) -> None:
        self._ledger = payments.books.ledger
        self._lease = payments.recover_in
        self._token = secrets.token_hex(8)
        self._renew_at = utcnow()
        self._lock = threading.Lock()
        self._left: set[str] = set()

    def take(self, payments: Iterable[Payment]) -> list[Payment]:
        """Claim those of `payments` that are still due, instead of the ones before. Return them as stored."""
        now = utcnow()
        ids = [payment.id for payment in payments]
        claimed = self._ledger.claim(ids, now, now + self._lease, self._token)
        self._renew_at = now + self._lease / 3
        self._left = {payment.id for payment in claimed}
        return claimed

    def done(self, payment: Payment) -> None:
        """Stop renewing the claim on one payment."""
        self._left.discard(payment.id)

    def renew(self) -> None:
        """Renew the claim if a third of its time has passed. Several threads call this often."""
        now = utcnow()
        with self._lock:
            if now < self._renew_at:
                return
            self._renew_at = now + self._lease / 3
        self._ledger.renew(self._token, list(self._left), now + self._lease)


class _Round:
    """Looks up the payments that are due, as far as no other process does."""

    def __init__(self, payments: Payments, actor: Actor, run: Run) -> None:
        self._payments = payments
        self._gateway = payments.gateway
        self._claim = _Claim(payments)
        self._actor = actor
        self._run = run
        #: The gateway is unavailable, so the other payments wait.
        self._stopped = False
        #: Consecutive payments without a usable response.
        self._failures = 0
        #: Used keys of unlisted payments and refunds → their payments.
        self._used: dict[str, Payment] = {}
        self._charges: dict[str, GatewayPayment] = {}
        self._refunds: dict[str, GatewayRefund] = {}

    def work(self, limit: int) -> int:
        """Look up at most `limit` due payments, and record the outcomes. Return the number of claims."""
        due = self._payments.books.ledger.due(utcnow(), limit)
        count = 0
        try:
            for batch in batches(due, CLAIM_SIZE):
                claimed = self._claim.take(batch)
                is_first, count = not count, count + len(claimed)
                if claimed and is_first:
                    self._list(due)
                self._run(self._recover, claimed)
                if self._stopped:
                    return count
            if self._used:
                # Carried out during the lookup, after the listing and before the seal.
                again = list({payment.id: payment for payment in self._used.values()}.values())
                self._list(again)
                self._run(self._recover, again)
        except GatewayError as error:
            log.warning("recovery waits for the gateway", reason=error.message, count=len(due))
        return count

    def _list(self, payments: Iterable[Payment]) -> None:
        """List the gateway's payments for due records without a gateway id."""
        unnamed = [payment for payment in payments if _is_unnamed(payment)]
        due = {payment.id: payment for payment in unnamed}
        # A request may arrive late until the gateway deletes its key.
        reach = KEY_MEMORY + CLOCK_SKEW
        for since, end in windows(
            (payment.created_at - CLOCK_SKEW, payment.last_attempt + reach) for payment in unnamed
        ):
            for charge in self._gateway.payments(since, end):
                self._claim.renew()
                payment = due.get(charge.transaction_id or "")
                # A foreign payment with a copied id would hide ours, or keep it open indefinitely.
                if payment and agrees(payment, charge, self._payments.settings.namespace):
                    self._charges[payment.id] = charge
        requested = {
            refund.id: (refund, payment.stray_charge or payment.gateway_id)
            for payment in payments
            for refund in _unnamed_refunds(payment)
        }
        for since, end in windows(
            (refund.created_at - CLOCK_SKEW, refund.created_at + reach) for refund, _ in requested.values()
        ):
            for fact in self._gateway.refunds(since=since, until=end):
                self._claim.renew()
                refund, charged = requested.get(fact.refund_id or "", (None, None))
                if refund and (fact.payment_gateway_id, fact.amount) == (charged, refund.amount):
                    self._refunds[refund.id] = fact

    def _recover(self, payment: Payment) -> None:
        """Look up one payment, and schedule the next lookup. Never raises for a server's failure."""
        if self._stopped:
            return
        self._claim.renew()
        with tracing.span("recover payment", {"movieapp.transaction_id": payment.id}):
            try:
                payment = self._look_up(payment)
            except GatewayError as error:
                # A single payment may have no usable response. If several have none, the gateway is down.
                self._failures += 1
                self._stopped = self._failures >= CONCURRENT_CALLS
                log.warning("recovery waits for the gateway", transaction_id=payment.id, reason=error.message)
                return
            except ServiceUnavailable as error:
                log.warning("recovery waits for the database", transaction_id=payment.id, reason=str(error))
                return
        self._failures = 0
        self._claim.done(payment)

    def _look_up(self, payment: Payment) -> Payment:
        if payment.status in UNSETTLED:
            payment = self._look_up_charge(payment)
        for refund in [refund for refund in payment.refunds if refund.pending]:
            payment = self._look_up_refund(payment, refund)
        if payment.stray_charge and self._payments.settings.refund_stray_charges:
            payment = self._payments.refunds.synchronize(payment, self._actor)
            payment = self._payments.refunds.refund_stray(payment, self._actor)
        return self._payments.books.change(payment, self._schedule)

    def _look_up_charge(self, payment: Payment) -> Payment:
        if payment.gateway_id:
            return self._payments.settle(payment, self._actor).payment
        if charge := self._charges.get(payment.id):
            return self._payments.settle_by(payment, charge, self._actor).payment
        if not self._is_ruled_out(payment, payment.id, self._payments.seal):
            return payment
        return self._payments.give_up(payment, self._actor)

    def _look_up_refund(self, payment: Payment, refund: Refund) -> Payment:
        refunds = self._payments.refunds
        fact = (
            self._gateway.find_refund(refund.gateway_id)
            if refund.gateway_id
            else self._refunds.get(refund.id)
        )
        if fact:
            return refunds.record_fact(payment, fact, self._actor)
        if refund.gateway_id:
            return payment
        if not self._is_ruled_out(payment, refund.id, self._gateway.seal):
            return payment
        return refunds.record(payment, refund.id, _NEVER_CARRIED_OUT, self._actor)

    def _is_ruled_out(self, payment: Payment, key: str, seal: Seal) -> bool:
        """Return whether no unlisted request with `key` moved money, and none can from now on."""
        if key in self._used:
            return True  # used before the second listing, which does not contain the request
        if seal(key, payment.amount, payment.currency):
            return True
        self._used[key] = payment
        return False

    def _schedule(self, payment: Payment) -> Payment:
        """Schedule the next lookup of an open outcome. Lookups become less frequent with age."""
        now = utcnow()
        since = [refund.created_at for refund in payment.refunds if refund.pending]
        if payment.status in UNSETTLED:
            since.append(payment.last_attempt)
        if payment.stray_charge and payment.recover_after:
            since.append(payment.last_attempt)
        if not since:
            return changes.lookups_finished(payment)
        pause = min(max((now - max(since)) / 2, self._payments.recover_in), LONGEST_PAUSE)
        return changes.lookup_scheduled(payment, now + pause)


def batches(due: Sequence[Payment], size: int) -> Iterator[Sequence[Payment]]:
    """Divide due payments into batches of at most `size`, in their order."""
    return (due[start : start + size] for start in range(0, len(due), size))


def windows(spans: Iterable[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """Merge spans that overlap or nearly overlap. Return them, oldest first."""
    current: tuple[datetime, datetime] | None = None
    for start, end in sorted(spans):
        if current is None:
            current = (start, end)
        elif start <= current[1] + _WINDOW_GAP:
            current = (current[0], max(current[1], end))
        else:
            yield current
            current = (start, end)
    if current is not None:
        yield current


def _is_unnamed(payment: Payment) -> bool:
    return payment.status in UNSETTLED and payment.gateway_id is None


def _unnamed_refunds(payment: Payment) -> list[Refund]:
    return [refund for refund in payment.refunds if refund.pending and refund.gateway_id is None]
