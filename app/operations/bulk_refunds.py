"""Plan, start, resume, and stop bulk refunds. Each action is in the audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.errors import InvalidRequest, Unacknowledged
from app.ids import new_id
from app.operations.audit import Operator, record_action
from app.payments.bulk.plan import digest_of, make_plan, total_text, totals_of
from app.payments.bulk.progress import Result, result_of
from app.payments.bulk.records import DEFAULT_RATE, Entry, Line, Run, RunStatus

if TYPE_CHECKING:
    from app.payments.bulk.store import RunStore
    from app.payments.ledger import Ledger

#: Maximum characters of a reason, which customers read, and of the name of a list.
MAX_REASON_LENGTH = 200
_MAX_SOURCE_LENGTH = 300


class StartNotConfirmed(Unacknowledged):
    """MongoDB did not acknowledge the start of a bulk refund: a worker may carry it out."""

    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"The start of the bulk refund {run_id} is not confirmed: the bulk refund may be running. To "
            f"check, run: movieapp refunds show {run_id}"
        )


@dataclass(frozen=True)
class Plan:
    """A bulk refund that is not confirmed yet."""

    run: Run
    lines: Sequence[Line]


def plan(
    ledger: Ledger,
    entries: Sequence[Entry],
    *,
    source: str,
    reason: str,
    operator: Operator,
    rate: float = DEFAULT_RATE,
) -> Plan:
    """Plan a bulk refund. Stores nothing.

    Args:
        ledger: store of payments.
        entries: the list.
        source: where the list came from.
        reason: reason of every refund; customers read it.
        operator: who creates the plan.
        rate: maximum number of refunds a second.

    Raises:
        InvalidRequest: the reason is empty or too long.
        ServiceUnavailable: the database is unavailable.
    """
    reason = reason.strip()
    if not reason or len(reason) > MAX_REASON_LENGTH or not reason.isprintable():
        raise InvalidRequest(f"The reason must be one line of 1 to {MAX_REASON_LENGTH} characters.")
    lines = make_plan(ledger, entries)
    run = Run(
        id=new_id("RUN-"),
        status=RunStatus.PLANNED,
        source=source[:_MAX_SOURCE_LENGTH],
        digest=digest_of(entries),
        reason=reason,
        rate=rate,
        operator=operator.name,
        line_count=len(lines),
        created_at=utcnow(),
        totals=totals_of(lines),
    )
    return Plan(run, lines)


def begin(runs: RunStore, planned: Plan, operator: Operator) -> Run:
    """Start a plan that the operator confirmed.

    Raises:
        StartNotConfirmed: the run may have started.
        ServiceUnavailable: the action or the run is not recorded; nothing is refunded.
    """
    run = replace(planned.run, status=RunStatus.RUNNING, confirmed_at=utcnow())
    _record(operator, "refunds.bulk", run)
    with _start_of(run):
        runs.add(run, planned.lines)
    return run


def confirm(runs: RunStore, run: Run, operator: Operator) -> None:
    """Start a stored plan, or resume a stopped run.

    Raises:
        InvalidRequest: the run is finished.
        StartNotConfirmed: the run may have started.
        ServiceUnavailable: the action or the start is not recorded.
    """
    _record(operator, "refunds.bulk" if run.status == RunStatus.PLANNED else "refunds.resume", run)
    with _start_of(run):
        started = runs.begin(run.id, utcnow())
    if not started and runs.find(run.id).status == RunStatus.FINISHED:
        raise InvalidRequest(f"The bulk refund {run.id} is finished. Plan a new bulk refund.")


def stop(runs: RunStore, run: Run, operator: Operator) -> None:
    """Stop a run before its next refund.

    Raises:
        InvalidRequest: the run is not running.
        ServiceUnavailable: the action is not recorded.
    """
    _record(operator, "refunds.stop", run)
    if not runs.stop(run.id):
        raise InvalidRequest(
            f"The bulk refund {run.id} is not running: its status is {runs.find(run.id).status}."
        )


def results(runs: RunStore, ledger: Ledger, run_id: str) -> list[Result]:
    """Return the result of each line, from the current payments.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    lines = runs.lines(run_id)
    return results_of(ledger, run_id, lines)


def results_of(ledger: Ledger, run_id: str, lines: Sequence[Line]) -> list[Result]:
    """Return the results of given lines; see `results`."""
    payments = ledger.find_all({line.transaction_id for line in lines if line.transaction_id})
    return [result_of(run_id, line, payments.get(line.transaction_id or "")) for line in lines]


@contextmanager
def _start_of(run: Run) -> Iterator[None]:
    try:
        yield
    except Unacknowledged as error:
        raise StartNotConfirmed(run.id) from error


def _record(operator: Operator, action: str, run: Run) -> None:
    details = {"source": run.source, "total": total_text(run.totals) or "nothing", "lines": run.line_count}
    record_action(operator, action, run.id, details)
