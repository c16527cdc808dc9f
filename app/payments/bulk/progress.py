"""Next step and result of each line of a bulk refund, read from its payment."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import count, takewhile
from typing import TYPE_CHECKING

from app.payments.bulk.records import VERDICT_TEXTS, Line, LineStatus, Verdict
from app.payments.states import RefundStatus

if TYPE_CHECKING:
    from app.payments.records import Payment, Refund

#: Maximum age of a request that is repeated. Recovery settles an older one, because the gateway may have
#: stored an error that it would return again and again.
REPEATABLE = timedelta(seconds=30)


class Outcome(StrEnum):
    """Result of a line that the plan refunds."""

    REFUNDED = "refunded"
    PENDING = "pending"
    FAILED = "failed"
    OPEN = "open"


@dataclass(frozen=True)
class Request:
    """Request a refund with this id: a new attempt."""

    refund_id: str


@dataclass(frozen=True)
class Repeat:
    """Repeat the request of a refund whose outcome is unknown."""

    refund_id: str


@dataclass(frozen=True)
class Wait:
    """Wait until recovery has found out the outcome of a request."""


@dataclass(frozen=True)
class Close:
    """Close the line: nothing is left to do."""


def refund_id_of(run_id: str, transaction_id: str, attempt: int) -> str:
    """Return the id of a line's refund, the same in every process.

    It is as unguessable as the run's id.
    """
    text = f"{run_id}\0{transaction_id}\0{attempt}"
    return f"REF-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def next_step(run_id: str, payment: Payment, now: datetime) -> Request | Repeat | Wait | Close:
    """Decide the next step of a line from its payment's refunds.

    A refund that failed before the gateway accepted it certainly did not happen, and is retried under the
    next id, however often. A refund that failed after acceptance is not retried.
    """
    attempts = _attempts(run_id, payment)
    if not attempts:
        return Request(refund_id_of(run_id, payment.id, 1))
    last = attempts[-1]
    if last.gateway_id or last.status == RefundStatus.COMPLETED:
        return Close()
    if last.pending:
        return Repeat(last.id) if now - last.created_at < REPEATABLE else Wait()
    return Request(refund_id_of(run_id, payment.id, len(attempts) + 1))


def _attempts(run_id: str, payment: Payment) -> list[Refund]:
    ids = (refund_id_of(run_id, payment.id, number) for number in count(1))
    return [refund for refund in takewhile(bool, map(payment.refund, ids)) if refund]


@dataclass(frozen=True)
class Result:
    """Result of one line.

    Attributes:
        outcome: an `Outcome`, or the `Verdict` of a line that the plan does not refund.
        reason: explanation; None if the outcome needs none.
        refund_id: refund id of the last attempt.
    """

    line: Line
    outcome: str
    reason: str | None = None
    refund_id: str | None = None

    @property
    def is_refunded(self) -> bool:
        """Return whether the line's payment is refunded in full, by this run or before."""
        return self.outcome in (Outcome.REFUNDED, Verdict.ALREADY_REFUNDED, Verdict.DUPLICATE)


def result_of(run_id: str, line: Line, payment: Payment | None) -> Result:
    """Return the result of a line from its current payment."""
    if line.status == LineStatus.EXCLUDED or payment is None:
        return Result(line, line.verdict, VERDICT_TEXTS[line.verdict])
    attempts = _attempts(run_id, payment)
    last = attempts[-1] if attempts else None
    if last and last.status == RefundStatus.COMPLETED:
        return Result(line, Outcome.REFUNDED, None, last.id)
    if last and last.pending:
        return Result(line, Outcome.PENDING, "the gateway has not decided yet", last.id)
    if line.status == LineStatus.OPEN:
        return Result(line, Outcome.OPEN, "not requested yet")
    reason = (last.error_message if last else None) or line.note
    return Result(line, Outcome.FAILED, reason, last.id if last else None)


def sums_of(results: Iterable[Result]) -> Iterator[tuple[str, str, int, Decimal]]:
    """Yield the outcome, currency, number of lines, and amount of the planned refunds, in a stable order."""
    counts: Counter[tuple[str, str]] = Counter()
    amounts: dict[tuple[str, str], Decimal] = {}
    for result in results:
        if result.line.amount is not None:
            key = (result.outcome, result.line.currency or "")
            counts[key] += 1
            amounts[key] = amounts.get(key, Decimal(0)) + result.line.amount
    for outcome in Outcome:
        for key in sorted(counts):
            if key[0] == outcome:
                yield *key, counts[key], amounts[key]
