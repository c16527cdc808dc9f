"""Pages that plan, confirm, show, and stop bulk refunds. A worker carries them out."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import redirect, request, url_for

from app.api.errors import STATUS
from app.clock import utcnow
from app.dashboard.access import MONEY, READ, access, operator
from app.dashboard.blueprint import blueprint, page, requires
from app.errors import InvalidRequest
from app.operations import bulk_refunds
from app.payments.bulk.lists import read_list
from app.payments.bulk.plan import repeats_total, total_text
from app.payments.bulk.progress import sums_of
from app.payments.bulk.records import DEFAULT_REASON, RunStatus
from app.payments.bulk.showtimes import Screening, find_bookings
from app.payments.bulk.store import RunStore
from app.services import services

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.payments.bulk.records import Entry

#: Maximum number of listed runs, and of lines shown of a run; `movieapp refunds show` prints all.
_MAX_RUNS, _MAX_LINES = 50, 200

#: How long a plan can be confirmed, because payments change.
PLAN_AGE = timedelta(minutes=30)

#: Form field → property that distinguishes screenings.
_DETAILS = {"movie": "movie_title", "cinema": "cinema_name", "screen": "screen"}


@blueprint.route("/refunds")
@requires(READ)
def refund_runs() -> str:
    """List bulk refunds, newest first."""
    return page("refund_runs", runs=RunStore().newest(_MAX_RUNS), reason=DEFAULT_REASON)


@blueprint.route("/refunds", methods=["POST"])
@requires(MONEY)
def plan_refunds() -> Any:
    """Store a plan for a pasted list or a showtime, and show it."""
    access().check_form()
    entries, source = _submitted_list()
    planned = bulk_refunds.plan(
        services().payments.books.ledger,
        entries,
        source=source,
        reason=request.form.get("reason", ""),
        operator=operator(),
    )
    RunStore().add(planned.run, planned.lines)
    return redirect(url_for("dashboard.refund_run", run_id=planned.run.id))


@blueprint.route("/refunds/<run_id>")
@requires(READ)
def refund_run(run_id: str, message: str = "") -> str:
    """Show one bulk refund: its plan, or the result of each line."""
    runs = RunStore()
    run = runs.find(run_id)
    results = bulk_refunds.results(runs, services().payments.books.ledger, run_id)
    # Lines refunded as planned are not listed.
    named = sorted(results, key=lambda result: result.is_refunded)
    return page(
        "refund_run",
        run=run,
        results=named[:_MAX_LINES],
        sums=list(sums_of(results)),
        total=total_text(run.totals) or "nothing",
        expired=run.created_at < utcnow() - PLAN_AGE,
        message=message,
    )


@blueprint.route("/refunds/<run_id>/confirm", methods=["POST"])
@requires(MONEY)
def confirm_refunds(run_id: str) -> Any:
    """Confirm a plan after the operator has repeated its total, or resume a stopped run."""
    access().check_form()
    runs = RunStore()
    run = runs.find(run_id)
    if run.status == RunStatus.PLANNED:
        if run.created_at < utcnow() - PLAN_AGE:
            raise InvalidRequest(
                f"The plan is older than {PLAN_AGE // timedelta(minutes=1)} minutes, so payments may have "
                "changed. Create a new plan."
            )
        if not repeats_total(request.form.get("total", ""), run.totals):
            return refund_run(run_id, "The total that you entered is wrong. Nothing was refunded.")
    address = url_for("dashboard.refund_run", run_id=run_id)
    try:
        bulk_refunds.confirm(runs, run, operator())
    except bulk_refunds.StartNotConfirmed as problem:
        # Only a link to the run: MongoDB may still be unavailable, and the run's page needs it.
        return page("error", message=problem.message, run=address), STATUS[problem.code]
    return redirect(address)


@blueprint.route("/refunds/<run_id>/stop", methods=["POST"])
@requires(MONEY)
def stop_refunds(run_id: str) -> Any:
    """Stop a run before its next refund."""
    access().check_form()
    runs = RunStore()
    bulk_refunds.stop(runs, runs.find(run_id), operator())
    return redirect(url_for("dashboard.refund_run", run_id=run_id))


def _submitted_list() -> tuple[Sequence[Entry], str]:
    """Return the form's list, and its source."""
    pasted, showtime = (request.form.get(name, "").strip() for name in ("list", "showtime"))
    if bool(pasted) == bool(showtime):
        raise InvalidRequest("Either paste a list or enter a showtime.")
    if pasted:
        return read_list(pasted.encode()), "a pasted list"
    given = {field: request.form.get(name, "").strip() for name, field in _DETAILS.items()}
    screening = Screening(showtime, {field: value for field, value in given.items() if value})
    return find_bookings(screening), screening.name
