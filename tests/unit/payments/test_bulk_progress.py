"""The next step and the reported result of a line of a bulk refund, for every state of its payment."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from app.payments.bulk.pace import LONGEST_PAUSE_SECONDS, Pace
from app.payments.bulk.progress import (
    MAX_ATTEMPTS,
    REPEATABLE,
    Close,
    Repeat,
    Request,
    next_step,
    refund_id_of,
    result_of,
    sums_of,
)
from app.payments.bulk.records import Line, LineStatus, Verdict
from app.payments.records import Refund
from app.payments.states import RefundStatus
from tests.unit.payments.conftest import START
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
        ((attempt(FIRST, PENDING, created_at=START - REPEATABLE),), Close()),
        ((attempt(FIRST, COMPLETED, gateway_id="re_1"),), Close()),
        ((attempt(FIRST, FAILED),), Request(SECOND)),
        ((attempt(FIRST, FAILED, gateway_id="re_1"),), Close()),
        ((attempt(FIRST, FAILED), attempt(SECOND, PENDING)), Repeat(SECOND)),
        (
            tuple(attempt(refund_id_of(RUN, "TXN-1", n + 1), FAILED) for n in range(MAX_ATTEMPTS)),
            Close("the gateway refused to work"),
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
