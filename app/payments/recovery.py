"""The sweep that finds the outcome of payments and refunds whose response never came.

It looks, and never repeats a request: a repeated request gets the stored result of the first one, errors
included, and may be carried out after all. What the gateway has on its books is read by id where an id is
known, and from one listing for everything else that is due. What is not there gets its idempotency key used
up, so that a request that is still on its way can't be carried out later; only then does it count as failed.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
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

#: Payments of one round: one listing serves them all.
ROUND_SIZE = 10_000

#: Gateway calls at the same time.
CONCURRENT_CALLS = 8

#: The longest pause between two looks at the same payment.
LONGEST_PAUSE = timedelta(minutes=5)

#: The gateway's clock may differ from ours by as much.
CLOCK_SKEW = timedelta(minutes=5)

#: Windows that are closer than this are listed as one.
_WINDOW_GAP = timedelta(minutes=30)

_NEVER_CARRIED_OUT = Refused("the request never reached the gateway")

Run = Callable[[Callable[[Any], None], Sequence[Any]], None]


def run_in_threads(act: Callable[[Any], None], items: Sequence[Any]) -> None:
    """Call `act` with each of `items`, a few at a time."""
    with ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="recovery") as pool:
        list(pool.map(act, items))


def recover_due(
    payments: Payments, limit: int = ROUND_SIZE, *, actor: Actor = Actor.RECOVERY, run: Run = run_in_threads
) -> int:
    """Look up everything whose outcome should be known by now. Safe in many processes at once.

    Args:
        payments: the payment side.
        limit: payments of one round.
        actor: who looks.
        run: calls a function with each of some items; any order, also at the same time.

    Returns:
        How many payments were claimed for looking up.

    Raises:
        ServiceUnavailable: the database did not answer.
    """
    claim = _Claim(payments, limit)
    if claim.payments:
        _Round(payments, claim, actor, run).work()
    return len(claim.payments)


class _Claim:
    """Payments that are ours to look up, for as long as the claim is renewed."""

    def __init__(self, payments: Payments, limit: int) -> None:
        self._ledger = payments.books.ledger
        self._lease = payments.recover_in
        self._token = secrets.token_hex(8)
        self._renew_at = utcnow() + self._lease / 3
        self._lock = threading.Lock()
        now = utcnow()
        self.payments = self._ledger.claim_due(now, now + self._lease, self._token, limit)
        self._left = {payment.id for payment in self.payments}

    def done(self, payment: Payment) -> None:
        """Stop renewing the claim on one payment."""
        self._left.discard(payment.id)

    def renew(self) -> None:
        """Renew the claim if a third of it has passed; called often, by several threads."""
        now = utcnow()
        with self._lock:
            if now < self._renew_at:
                return
            self._renew_at = now + self._lease / 3
        self._ledger.renew(self._token, list(self._left), now + self._lease)


class _Round:
    """Looks up the payments of one claim."""

    def __init__(self, payments: Payments, claim: _Claim, actor: Actor, run: Run) -> None:
        self._payments = payments
        self._gateway = payments.gateway
        self._claim = claim
        self._actor = actor
        self._run = run
        #: The gateway does not answer: the rest waits for the claim to expire.
        self._stopped = False
        #: Payments in a row for which it had no usable response.
        self._failures = 0
        #: Payments and refunds whose key was used when we came, though they were not listed.
        self._used: list[Payment] = []
        self._charges: dict[str, GatewayPayment] = {}
        self._refunds: dict[str, GatewayRefund] = {}

    def work(self) -> None:
        """Look everything up, and record it."""
        try:
            self._list(self._claim.payments)
            self._run(self._recover, self._claim.payments)
            if self._used and not self._stopped:
                # Carried out while we looked: after the listing, before their key was tried.
                again, self._used = self._used, []
                self._list(again)
                self._run(self._recover_listed, again)
        except GatewayError as error:
            log.warning(
                "recovery waits for the gateway", reason=error.message, count=len(self._claim.payments)
            )

    def _list(self, payments: Iterable[Payment]) -> None:
        """Read the gateway's books for what is due and has no id there."""
        unnamed = [payment for payment in payments if _is_unnamed(payment)]
        due = {payment.id: payment for payment in unnamed}
        # A request may arrive late, for as long as the gateway remembers that its key was used up.
        reach = KEY_MEMORY + CLOCK_SKEW
        for since, end in windows(
            (payment.created_at - CLOCK_SKEW, payment.last_attempt + reach) for payment in unnamed
        ):
            for charge in self._gateway.payments(since, end):
                self._claim.renew()
                payment = due.get(charge.transaction_id or "")
                # A foreign payment with a copied id would hide ours, or keep it open for ever.
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
        self._settle(payment, seal=True)

    def _recover_listed(self, payment: Payment) -> None:
        self._settle(payment, seal=False)

    def _settle(self, payment: Payment, *, seal: bool) -> None:
        """Look up one payment and schedule the next look; nothing is raised for what a server can do."""
        if self._stopped:
            return
        self._claim.renew()
        with tracing.span("recover payment", {"movieapp.transaction_id": payment.id}):
            try:
                payment = self._look_up(payment, seal=seal)
            except GatewayError as error:
                # One payment alone may have no usable response; the gateway is down if several have none.
                self._failures += 1
                self._stopped = self._failures >= CONCURRENT_CALLS
                log.warning("recovery waits for the gateway", transaction_id=payment.id, reason=error.message)
                return
            except ServiceUnavailable as error:
                log.warning("recovery waits for the database", transaction_id=payment.id, reason=str(error))
                return
        self._failures = 0
        self._claim.done(payment)

    def _look_up(self, payment: Payment, *, seal: bool) -> Payment:
        if payment.status in UNSETTLED:
            payment = self._look_up_charge(payment, seal=seal)
        for refund in [refund for refund in payment.refunds if refund.pending]:
            payment = self._look_up_refund(payment, refund, seal=seal)
        if payment.stray_charge and self._payments.settings.refund_stray_charges:
            payment = self._payments.refunds.synchronize(payment, self._actor)
            payment = self._payments.refunds.refund_stray(payment, self._actor)
        return self._payments.books.change(payment, self._schedule)

    def _look_up_charge(self, payment: Payment, *, seal: bool) -> Payment:
        if payment.gateway_id:
            return self._payments.settle(payment, self._actor).payment
        if charge := self._charges.get(payment.id):
            return self._payments.settle_by(payment, charge, self._actor).payment
        if seal and not self._gateway.seal(payment.id, payment.amount, payment.currency):
            self._used.append(payment)
            return payment
        return self._payments.give_up(payment, self._actor)

    def _look_up_refund(self, payment: Payment, refund: Refund, *, seal: bool) -> Payment:
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
        if seal and not self._gateway.seal(refund.id, payment.amount, payment.currency):
            self._used.append(payment)
            return payment
        return refunds.record(payment, refund.id, _NEVER_CARRIED_OUT, self._actor)

    def _schedule(self, payment: Payment) -> Payment:
        """When to look again, if something is still open: the older it is, the less often."""
        now = utcnow()
        since = [refund.created_at for refund in payment.refunds if refund.pending]
        if payment.status in UNSETTLED:
            since.append(payment.last_attempt)
        if payment.stray_charge and payment.recover_after:
            since.append(payment.last_attempt)
        if not since:
            return changes.nothing_left_to_look_up(payment)
        pause = min(max((now - max(since)) / 2, self._payments.recover_in), LONGEST_PAUSE)
        return changes.looked_up_later(payment, now + pause)


def windows(spans: Iterable[tuple[datetime, datetime]]) -> Iterator[tuple[datetime, datetime]]:
    """The spans, merged where they overlap or nearly do; oldest first."""
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
