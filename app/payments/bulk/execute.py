"""Carry out bulk refunds, one run at a time, in the process that holds the run's lease.

The process may die between any two steps. The lease then ends within seconds, and another process continues
from the payments' records. If two processes briefly hold the same run, they derive the same refund ids: a
payment records each once, and the gateway carries each out once.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.errors import InvalidAmount, Problem, RefundNotAllowed, ServiceUnavailable, TransactionNotFound
from app.payments.bulk.pace import Pace
from app.payments.bulk.progress import Close, Repeat, Wait, next_step
from app.payments.orders import RefundOrder
from app.payments.states import Actor, RefundStatus
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.bulk.records import Line, Run
    from app.payments.bulk.store import RunStore
    from app.payments.records import Payment, Refund
    from app.payments.service import Payments

log = get_logger(__name__)

#: A process that stopped renewing its lease for this long counts as dead.
LEASE = timedelta(seconds=4)
_RENEW_SECONDS = 1.0

#: Maximum number of concurrent refund requests.
CONCURRENT_CALLS = 4

#: Lines read at a time.
_BATCH_SIZE = 40

#: Number of consecutive refusals and unknown outcomes after which the run is postponed.
MAX_REFUSALS = 8
_RETRY_IN = timedelta(minutes=1)

#: Errors that affect only one line and that a retry can't fix.
_FINAL = (RefundNotAllowed, InvalidAmount, TransactionNotFound)


def carry_out(payments: Payments, runs: RunStore, run_id: str, stop: threading.Event) -> bool:
    """Carry out a run, unless a process is carrying out this one or another.

    Args:
        payments: the payment service.
        runs: store of runs.
        run_id: id of a confirmed run.
        stop: when set, the run ends before its next refund.

    Returns:
        Whether the run was claimed. If so, it has finished, was stopped, or waits for the gateway.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    token = secrets.token_hex(8)
    now = utcnow()
    if not runs.claim(run_id, token, now, now + LEASE):
        return False
    run = runs.find(run_id)
    log.info("bulk refund claimed", run_id=run.id)
    with _held(runs, run.id, token, stop) as lease:
        _Execution(payments, runs, run, lease).work(token)
    return True


def carry_out_next(payments: Payments, runs: RunStore, stop: threading.Event) -> None:
    """Carry out the unclaimed runs, one after the other.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    for run_id in runs.waiting(utcnow()):
        if stop.is_set() or not carry_out(payments, runs, run_id, stop):
            return


class _Lease:
    """A claim on a run.

    Args:
        stop: set when this process shuts down.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self.lost = threading.Event()

    @property
    def has_ended(self) -> bool:
        """Return whether no further refund may start."""
        return self._stop.is_set() or self.lost.is_set()

    def wait(self, seconds: float) -> None:
        """Wait, unless no further refund may start."""
        until = utcnow() + timedelta(seconds=seconds)
        while not self.has_ended and (left := (until - utcnow()).total_seconds()) > 0:
            self._stop.wait(min(left, 0.2))


@contextmanager
def _held(runs: RunStore, run_id: str, token: str, stop: threading.Event) -> Iterator[_Lease]:
    """Hold a claim: renew it from a thread, and release it at the end."""
    lease, done = _Lease(stop), threading.Event()

    def renew() -> None:
        expires = utcnow() + LEASE
        while not done.wait(_RENEW_SECONDS):
            now = utcnow()
            try:
                still_claimed = runs.renew(run_id, token, now + LEASE)
                expires = now + LEASE
            except ServiceUnavailable:
                still_claimed = now < expires
            if not still_claimed:
                lease.lost.set()
                return

    heartbeat = threading.Thread(target=renew, name="bulk-refund-lease", daemon=True)
    heartbeat.start()
    try:
        yield lease
    finally:
        done.set()
        heartbeat.join()
        runs.release(run_id, token)


class _Execution:
    """Carries out one run under a lease."""

    def __init__(self, payments: Payments, runs: RunStore, run: Run, lease: _Lease) -> None:
        self._payments = payments
        self._runs = runs
        self._run = run
        self._lease = lease
        self._pace = Pace(run.rate)
        #: Consecutive refusals and unknown outcomes.
        self._refusals = 0

    def work(self, token: str) -> None:
        """Carry out lines until none is open, the lease ends, or the gateway is unavailable."""
        with ThreadPoolExecutor(CONCURRENT_CALLS, thread_name_prefix="bulk-refund") as pool:
            while not self._is_over:
                try:
                    lines = self._runs.open_lines(self._run.id, _BATCH_SIZE)
                    if not lines:
                        self._runs.finish(self._run.id, token, utcnow())
                        log.info("bulk refund finished", run_id=self._run.id)
                        return
                except ServiceUnavailable as problem:
                    self._refused(problem.message, None)
                    self._lease.wait(self._pace.take())
                    continue
                list(pool.map(self._carry_out, lines))
        if self._refusals >= MAX_REFUSALS:
            log.warning("bulk refund waits for the gateway", run_id=self._run.id)
            self._runs.release(self._run.id, token, utcnow() + _RETRY_IN)

    @property
    def _is_over(self) -> bool:
        return self._lease.has_ended or self._refusals >= MAX_REFUSALS

    def _carry_out(self, line: Line) -> None:
        if not self._is_over:
            self._lease.wait(self._pace.take())
        if self._is_over:
            return
        try:
            payment = self._payments.books.get(line.transaction_id or "")
            if not self._continue(line, payment):
                self._runs.look_again(self._run.id, line)
                self._refused("the outcome is unknown", line.transaction_id)
                return
        except _FINAL as problem:
            self._runs.close_line(self._run.id, line, problem.message)
        except Problem as problem:  # the gateway or the database is unavailable
            self._refused(problem.message, line.transaction_id)
            return
        self._refusals = 0
        self._pace.accepted()

    def _refused(self, reason: str, transaction_id: str | None) -> None:
        self._refusals += 1
        self._pace.refused()
        log.warning(
            "bulk refund temporarily refused",
            run_id=self._run.id,
            transaction_id=transaction_id,
            reason=reason,
        )

    def _continue(self, line: Line, payment: Payment) -> bool:
        """Take the next step of a line. Return whether its outcome is known, or the next lookup decides."""
        step = next_step(self._run.id, payment, utcnow())
        if isinstance(step, Wait):
            return False
        if isinstance(step, Close):
            self._runs.close_line(self._run.id, line)
            return True
        if isinstance(step, Repeat):
            refund = self._repeat(payment, step.refund_id)
        else:
            order = self._order(line, payment)
            _, refund = self._payments.refunds.refund(order, step.refund_id, Actor.OPERATOR, keep_open=True)
        if refund.pending and refund.gateway_id is None:
            return False
        if refund.status != RefundStatus.FAILED:
            self._runs.close_line(self._run.id, line)
        return True

    def _repeat(self, payment: Payment, refund_id: str) -> Refund:
        try:
            _, refund = self._payments.refunds.resume(payment, refund_id, Actor.OPERATOR)
        except RefundNotAllowed:
            # Recovery may have sealed it meanwhile. If the gateway refused it, it refuses the next one, too.
            _, refund = self._payments.books.get_refund(refund_id)
        return refund

    def _order(self, line: Line, payment: Payment) -> RefundOrder:
        # The confirmed amount, even if more could be refunded now.
        return RefundOrder(payment.id, payment.booking_id, payment.user_id, self._run.reason, line.amount)
