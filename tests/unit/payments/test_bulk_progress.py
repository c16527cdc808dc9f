"""The next step and the reported result of each line of a bulk refund, also in an outage of the gateway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.gateway import Charged, GatewayRefund, Refunded, RefundOutcome, RefundRequest, Refused, Unknown
from app.payments.bulk import execute
from app.payments.bulk.pace import LONGEST_PAUSE_SECONDS, Pace
from app.payments.bulk.progress import (
    REPEATABLE,
    Close,
    Repeat,
    Request,
    Wait,
    next_step,
    refund_id_of,
    result_of,
    sums_of,
)
from app.payments.bulk.records import Line, LineStatus, Run, RunStatus, Verdict
from app.payments.changes import MAX_REFUNDS
from app.payments.records import Refund
from app.payments.recovery import recover_due
from app.payments.states import RefundStatus
from tests.support.gateway import FakeGateway
from tests.unit.payments.conftest import START, Site
from tests.unit.payments.conftest import Clock as WallClock
from tests.unit.payments.test_bulk_plan import paid

RUN = "RUN-1"
FIRST, SECOND = (refund_id_of(RUN, "TXN-1", attempt) for attempt in (1, 2))
LINE = Line(1, Verdict.REFUND, "TXN-1", "BOOK-1", Decimal(50), "USD", LineStatus.OPEN)


def attempt(name: str, status: RefundStatus, **fields: Any) -> Refund:
    return replace(Refund(name, status, Decimal(50), "r", START), **fields)


PENDING, COMPLETED, FAILED = RefundStatus.PENDING, RefundStatus.COMPLETED, RefundStatus.FAILED


@pytest.mark.parametrize(
    ("refunds", "step"),
    [
        ((), Request(FIRST)),
        ((attempt("REF-other", COMPLETED),), Request(FIRST)),
        ((attempt(FIRST, PENDING),), Repeat(FIRST)),
        ((attempt(FIRST, PENDING, gateway_id="re_1"),), Close()),
        ((attempt(FIRST, PENDING, created_at=START - REPEATABLE),), Wait()),
        ((attempt(FIRST, COMPLETED, gateway_id="re_1"),), Close()),
        ((attempt(FIRST, FAILED),), Request(SECOND)),
        ((attempt(FIRST, FAILED, gateway_id="re_1"),), Close()),
        ((attempt(FIRST, FAILED), attempt(SECOND, PENDING)), Repeat(SECOND)),
        (
            tuple(attempt(refund_id_of(RUN, "TXN-1", n + 1), FAILED) for n in range(MAX_REFUNDS)),
            Request(refund_id_of(RUN, "TXN-1", MAX_REFUNDS + 1)),
        ),
    ],
)
def test_the_next_step_follows_from_the_payment_alone(refunds: tuple[Refund, ...], step: object) -> None:
    assert next_step(RUN, paid(refunds=refunds), START + timedelta(seconds=1)) == step


def test_the_id_of_a_refund_belongs_to_one_run_payment_and_attempt() -> None:
    ids = {refund_id_of(run, name, n) for run in ("RUN-1", "RUN-2") for name in ("T", "U") for n in (1, 2)}
    assert len(ids) == 8
    assert all(len(one) == len("REF-") + 32 for one in ids)


@pytest.mark.parametrize(
    ("refunds", "status", "note", "outcome", "reason"),
    [
        ((), LineStatus.OPEN, None, "open", "not requested yet"),
        ((attempt(FIRST, COMPLETED),), LineStatus.OPEN, None, "refunded", None),
        ((attempt(FIRST, COMPLETED),), LineStatus.CLOSED, None, "refunded", None),
        ((attempt(FIRST, PENDING),), LineStatus.CLOSED, None, "pending", "the gateway has not decided yet"),
        ((attempt(FIRST, FAILED, error_message="declined"),), LineStatus.CLOSED, "x", "failed", "declined"),
        ((attempt(FIRST, FAILED),), LineStatus.OPEN, None, "open", "not requested yet"),
        ((), LineStatus.CLOSED, "The payment is disputed.", "failed", "The payment is disputed."),
    ],
)
def test_the_report_follows_the_payment(
    refunds: tuple[Refund, ...], status: LineStatus, note: str | None, outcome: str, reason: str | None
) -> None:
    result = result_of(RUN, replace(LINE, status=status, note=note), paid(refunds=refunds))
    assert (result.outcome, result.reason) == (outcome, reason)
    assert result.is_refunded == (outcome == "refunded")


def test_lines_that_were_refunded_before_are_refunded_and_others_are_not() -> None:
    refunded = {Verdict.ALREADY_REFUNDED, Verdict.DUPLICATE}
    for verdict in set(Verdict) - {Verdict.REFUND, Verdict.REST}:
        result = result_of(RUN, Line(1, verdict, "TXN-1"), paid())
        assert result.outcome == verdict
        assert result.is_refunded == (verdict in refunded)


def test_totals_are_grouped_by_outcome_and_currency() -> None:
    done = paid(refunds=(attempt(FIRST, COMPLETED),))
    results = [result_of(RUN, LINE, done), result_of(RUN, LINE, done), result_of(RUN, LINE, paid())]
    results.append(result_of(RUN, Line(4, Verdict.UNKNOWN, "TXN-9"), None))
    assert list(sums_of(results)) == [
        ("refunded", "USD", 2, Decimal(100)),
        ("open", "USD", 1, Decimal(50)),
    ]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_respect_the_rate_and_a_refusal_pauses_all() -> None:
    clock = Clock()
    pace = Pace(10, clock)
    assert [round(pace.take(), 2) for _ in range(3)] == [0.0, 0.1, 0.2]
    clock.now = 10
    assert pace.take() == 0
    pace.refused()
    pace.refused()  # of a request that was sent before the pause
    assert pace.take() == 1.0
    clock.now += 1.2
    pace.refused()
    assert pace.take() == 2.0
    pauses = []
    for _ in range(8):
        clock.now += 60
        pace.refused()
        pauses.append(pace.take())
    assert pauses[-1] == pytest.approx(LONGEST_PAUSE_SECONDS)
    clock.now += 60
    pace.accepted()
    pace.refused()
    assert pace.take() == 1.0


#: Outage → the outcome of a refund request, whether the gateway carries it out, and whether the gateway
#: stores the outcome for the key of the request.
OUTAGES: dict[str, tuple[RefundOutcome, bool, bool]] = {
    "connection refused": (Refused("NeverReached", transient=True), False, False),
    "429": (Refused("RateLimitError 429", transient=True), False, False),
    "timeout before the refund": (Unknown("Timeout"), False, False),
    "timeout after the refund": (Unknown("Timeout"), True, True),
    "500": (Unknown("APIError 500"), False, True),
}


class UnreliableGateway(FakeGateway):
    """A gateway with an outage, which stores outcomes by idempotency key as Stripe does.

    Attributes:
        outage: a key of `OUTAGES`; None while the gateway works.
        refusals: charge → permanent refusal of its refund.
    """

    def __init__(self) -> None:
        super().__init__()
        self.outage: str | None = None
        self.refusals: dict[str, Refused] = {}
        self._outcomes: dict[str, RefundOutcome] = {}

    def refund(self, request: RefundRequest) -> RefundOutcome:
        if stored := self._outcomes.get(request.refund_id):
            return stored
        if refusal := self.refusals.get(request.payment_gateway_id):
            return refusal
        name = f"re_{len(self.refunds_there)}"
        response, is_made, is_stored = OUTAGES.get(self.outage or "", (Refunded(name), True, True))
        if is_stored:
            self._outcomes[request.refund_id] = Refunded(name) if is_made else response
        if is_made:
            about = (request.refund_id, request.payment_gateway_id, request.amount, request.currency)
            self.refunds_there[name] = GatewayRefund(name, *about, START, Refunded(name))
        return response

    def seal(self, key: str, amount: Decimal, currency: str) -> bool:
        is_unused = super().seal(key, amount, currency) and key not in self._outcomes
        if is_unused:
            self._outcomes[key] = Unknown("IdempotencyError")
        return is_unused


class Runs:
    """The store of one run, in memory; see `RunStore`."""

    def __init__(self, lines: list[Line]) -> None:
        self.lines = {line.number: line for line in lines}
        self.finished = False

    def open_lines(self, _run_id: str, limit: int) -> list[Line]:
        found = [line for line in self.lines.values() if line.status == LineStatus.OPEN]
        return sorted(found, key=lambda line: (line.looks, line.number))[:limit]

    def close_line(self, _run_id: str, line: Line, note: str | None = None) -> None:
        self.lines[line.number] = replace(self.lines[line.number], status=LineStatus.CLOSED, note=note)

    def look_again(self, _run_id: str, line: Line) -> None:
        self.lines[line.number] = replace(self.lines[line.number], looks=line.looks + 1)

    def release(self, *_: object) -> None:
        pass

    def finish(self, *_: object) -> None:
        self.finished = True


def run_in_order(act: Callable[[Any], None], items: Sequence[Any]) -> None:
    for item in items:
        act(item)


class BulkRefund:
    """A run of `count` lines that a worker carries out, on a clock that moves when it waits."""

    def __init__(self, site: Site, gateway: UnreliableGateway, count: int) -> None:
        self.site, self.gateway = site, gateway
        self.names = [f"TXN-{number}" for number in range(count)]
        for number, name in enumerate(self.names):
            gateway.outcome = Charged(f"pi_{number}")
            site.pay(name, booking_id=f"BOOK-{number}")
        self.runs = Runs(
            [
                Line(number, Verdict.REFUND, name, None, Decimal(25), "USD", LineStatus.OPEN)
                for number, name in enumerate(self.names)
            ]
        )

    def work(self) -> None:
        """Do what a worker does in a minute: the run, then recovery."""
        run = Run(RUN, RunStatus.RUNNING, "f", "d", "r", 10.0, "op", len(self.names), START)
        lease = execute._Lease(threading.Event())
        lease.wait = lambda seconds: self.site.clock.pass_by(seconds=seconds)  # type: ignore[method-assign]
        execute._Execution(self.site.payments, self.runs, run, lease).work("t")  # type: ignore[arg-type]
        self.site.clock.pass_by(minutes=1)
        recover_due(self.site.payments, run=run_in_order)

    def results(self) -> list[tuple[str, str | None]]:
        found = [
            result_of(RUN, line, self.site.stored(name))
            for line, name in zip(self.runs.lines.values(), self.names, strict=True)
        ]
        return [(result.outcome, result.reason) for result in found]


@pytest.fixture
def unreliable(site: Site, clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> UnreliableGateway:
    monkeypatch.setattr(execute, "utcnow", clock)
    monkeypatch.setattr(execute, "CONCURRENT_CALLS", 1)
    monkeypatch.setattr(execute, "Pace", lambda rate: Pace(rate, lambda: clock().timestamp()))
    site.gateway = UnreliableGateway()
    site.payments = site.with_settings()
    return site.gateway


@pytest.mark.parametrize("reads_fail", [True, False], ids=["everything down", "only refunds down"])
@pytest.mark.parametrize(("count", "hours"), [(20, 1), (1, 6)])
@pytest.mark.parametrize("outage", OUTAGES)
def test_each_line_is_refunded_once_after_an_outage_of_any_kind_and_length(
    site: Site, unreliable: UnreliableGateway, outage: str, count: int, hours: int, *, reads_fail: bool
) -> None:
    bulk = BulkRefund(site, unreliable, count)
    unreliable.outage, unreliable.down = outage, reads_fail
    while site.clock.now < START + timedelta(hours=hours):
        bulk.work()
    unreliable.outage, unreliable.down = None, False
    while not bulk.runs.finished:
        bulk.work()
        assert site.clock.now < START + timedelta(hours=hours, minutes=30)
    assert bulk.results() == [("refunded", None)] * count
    charges = sorted(fact.payment_gateway_id or "" for fact in unreliable.refunds_there.values())
    assert charges == sorted(f"pi_{number}" for number in range(count))
    if reads_fail:
        assert max(len(site.stored(name).refunds) for name in bulk.names) <= 2


def test_a_permanent_refusal_closes_only_its_line(site: Site, unreliable: UnreliableGateway) -> None:
    bulk = BulkRefund(site, unreliable, 3)
    unreliable.refusals["pi_1"] = Refused("charge_already_refunded")
    bulk.work()
    assert bulk.runs.finished
    assert bulk.results() == [
        ("refunded", None),
        ("failed", "charge_already_refunded"),
        ("refunded", None),
    ]


def test_a_line_that_the_gateway_refuses_for_good_after_an_outage_is_closed(
    site: Site, unreliable: UnreliableGateway
) -> None:
    bulk = BulkRefund(site, unreliable, 1)
    unreliable.outage = "429"
    bulk.work()
    unreliable.outage, unreliable.refusals["pi_0"] = None, Refused("charge_disputed")
    for _ in range(3):
        bulk.work()
    assert bulk.runs.finished
    assert bulk.results() == [("failed", "charge_disputed")]
