"""`movieapp refunds`: refund many payments at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

import click

from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures, operator, yes_option
from cli.output import json_option, progress
from cli.refund_report import report, show_plan, summary

if TYPE_CHECKING:
    from app.operations.bulk_refunds import Plan
    from app.payments.bulk.records import Entry, Run
    from app.payments.bulk.store import RunStore
    from app.payments.service import Payments

#: Seconds between two updates of a running run's progress.
_LOOK_SECONDS = 0.25

#: `app.payments.bulk.records.DEFAULT_RATE`, `MAX_RATE` and `DEFAULT_REASON`, without loading them for --help.
DEFAULT_RATE, MAX_RATE = 10.0, 100.0
DEFAULT_REASON = "The screening was canceled"

#: Fields of a run in a list.
_FIELDS = (
    "run_id", "status", "source", "reason", "operator", "line_count", "totals", "created_at", "confirmed_at",
    "finished_at",
)  # fmt: skip

csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")


@click.group()
def refunds() -> None:
    """Refund many payments at once, such as those for a canceled screening.

    \b
    Example:
        movieapp refunds bulk bookings.csv --dry-run
    """


@refunds.command()
@click.argument("file", type=click.File("rb"), required=False)
@click.option(
    "--showtime",
    metavar="TIME",
    help="Refund the bookings of the screening at TIME (in ISO 8601, or as written in the events).",
)
@click.option("--movie", metavar="TITLE", help="With --showtime: only screenings of this movie.")
@click.option("--cinema", metavar="NAME", help="With --showtime: only screenings in this cinema.")
@click.option("--screen", metavar="NAME", help="With --showtime: only screenings on this screen.")
@click.option("--reason", default=DEFAULT_REASON, show_default=True, help="Reason that customers see.")
@click.option("--dry-run", is_flag=True, help="Show the plan, and refund nothing.")
@yes_option
@click.option(
    "--rate",
    type=click.FloatRange(0.1, MAX_RATE),
    default=DEFAULT_RATE,
    show_default=True,
    help="Maximum number of refunds per second. By default, Stripe allows 25 requests per second to each API "
    "endpoint.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Resume the bulk refund with the id RUN, with its original reason and rate.",
)
@json_option
@csv_option
@expected_failures
def bulk(
    file: IO[bytes] | None,
    showtime: str | None,
    movie: str | None,
    cinema: str | None,
    screen: str | None,
    reason: str,
    dry_run: bool,
    yes: bool,
    rate: float,
    resume: str | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Refund the remaining amount of every payment on a list.

    FILE lists payments (transaction_id), bookings (booking_id), or both, in CSV, as a JSON array, or as text
    with one id per line. Pass - as FILE to read standard input. If you pass --showtime instead of FILE, the
    command finds the bookings of the screening in the events from the booking service.

    The command shows the totals and the lines that it can't refund in full. Unless --yes is passed, the
    command then asks you to type the total. After an interruption, run the command again with the same list
    or with --resume. No payment is refunded twice. Exit code: 0 if every payment on the list is refunded, or
    after --dry-run without --resume; 1 otherwise.

    \b
    Examples:
        movieapp refunds bulk bookings.csv --dry-run
        movieapp refunds bulk bookings.csv --reason "The projector failed"
        movieapp refunds bulk --showtime 2036-12-15T20:00:00-05:00 --screen 3
    """
    if sum(map(bool, (file, showtime, resume))) != 1:
        raise click.UsageError("Pass exactly one of FILE, --showtime, or --resume.")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv can't be used together.")
    if (movie or cinema or screen) and not showtime:
        raise click.UsageError("--movie, --cinema, and --screen require --showtime.")
    if not (dry_run or yes or sys.stdin.isatty()):
        raise click.UsageError("stdin is not a terminal: pass --yes.")
    settings = connect()
    from app.operations.bulk_refunds import plan
    from app.payments.bulk.plan import digest_of
    from app.payments.bulk.store import RunStore
    from app.payments.service import make_payments

    payments, runs = make_payments(settings), RunStore()
    ledger = payments.books.ledger
    if resume:
        run = runs.find(resume)
        _resume(runs, run, yes=yes, dry_run=dry_run)
    else:
        details = {"movie_title": movie, "cinema_name": cinema, "screen": screen}
        entries, source = _entries(file, showtime, details)
        unfinished = runs.unfinished(digest_of(entries))
        if unfinished and not dry_run:
            run = unfinished
            _resume(runs, run, yes=yes, dry_run=False)
        else:
            planned = plan(ledger, entries, source=source, reason=reason, operator=operator(), rate=rate)
            show_plan(planned, as_json=as_json and dry_run, as_csv=as_csv and dry_run, dry_run=dry_run)
            if dry_run:
                return
            run = _begin(runs, planned, yes=yes)
    if not dry_run:
        _carry_out(payments, runs, run)
    report(payments, runs.find(run.id), as_json=as_json, as_csv=as_csv)


@refunds.command("list")
@listing_options()
@expected_failures
def list_runs(listing: Listing) -> None:
    """List bulk refunds, newest first.

    \b
    Example:
        movieapp refunds list --limit 10
    """
    connect()
    from app.payments.bulk.store import RunStore

    rows = [summary(run) for run in RunStore().newest(listing.fetch_limit)]
    listing.show(rows, {name: name for name in _FIELDS}, empty="No bulk refunds yet.")


@refunds.command()
@click.argument("run_id", metavar="RUN")
@json_option
@csv_option
@expected_failures
def show(run_id: str, as_json: bool, as_csv: bool) -> None:
    """Show the result of each line of a bulk refund.

    RUN is the id that `refunds list` shows. The results include the current status of each payment. Exit
    code: 0 if every payment of the bulk refund is refunded, 1 if not.

    \b
    Example:
        movieapp refunds show RUN-0f3c9a5be7714d2f8a61c07d9e52b384 --csv
    """
    settings = connect()
    from app.payments.bulk.store import RunStore
    from app.payments.service import make_payments

    report(make_payments(settings), RunStore().find(run_id), as_json=as_json, as_csv=as_csv)


@refunds.command()
@click.argument("run_id", metavar="RUN")
@expected_failures
def stop(run_id: str) -> None:
    """Stop a bulk refund before its next refund.

    RUN is the id that `refunds list` shows. Completed refunds are not reversed. To continue the bulk refund,
    pass RUN to `refunds bulk --resume`.

    \b
    Example:
        movieapp refunds stop RUN-0f3c9a5be7714d2f8a61c07d9e52b384
    """
    connect()
    from app.operations.bulk_refunds import stop as stop_run
    from app.payments.bulk.store import RunStore

    runs = RunStore()
    stop_run(runs, runs.find(run_id), operator())
    click.echo(f"{run_id} is stopped. To resume, run: movieapp refunds bulk --resume {run_id}")


def _entries(
    file: IO[bytes] | None, showtime: str | None, details: dict[str, str | None]
) -> tuple[Sequence[Entry], str]:
    """Return the list and its source."""
    from app.errors import InvalidRequest
    from app.payments.bulk.lists import MAX_LIST_BYTES, read_list
    from app.payments.bulk.showtimes import Screening, find_bookings

    if file is None:
        given = {name: value for name, value in details.items() if value}
        screening = Screening(showtime or "", given)
        return find_bookings(screening), screening.name
    try:
        return read_list(file.read(MAX_LIST_BYTES + 1)), getattr(file, "name", "stdin")
    except InvalidRequest as error:
        raise click.UsageError(error.message) from None


def _begin(runs: RunStore, planned: Plan, *, yes: bool) -> Run:
    from app.operations.bulk_refunds import begin
    from app.payments.bulk.plan import repeats_total, total_text

    totals = planned.run.totals
    if totals and not yes:
        typed = click.prompt(f"To refund the total, type it ({total_text(totals)})", err=True)
        if not repeats_total(typed, totals):
            raise click.ClickException("The total that you entered is wrong. Nothing was refunded.")
    return begin(runs, planned, operator())


def _resume(runs: RunStore, run: Run, *, yes: bool, dry_run: bool) -> None:
    from app.operations.bulk_refunds import confirm
    from app.payments.bulk.records import RunStatus

    if run.status == RunStatus.PLANNED:
        raise click.ClickException(f"The bulk refund {run.id} is not confirmed. Confirm it in the dashboard.")
    if dry_run or run.status == RunStatus.FINISHED:
        return
    left = runs.count_open(run.id)
    click.echo(f"{run.id} ({run.source}): {left} of {run.line_count} lines are not finished.", err=True)
    if not yes:
        click.confirm("Resume the bulk refund?", abort=True, err=True)
    confirm(runs, run, operator())


def _carry_out(payments: Payments, runs: RunStore, run: Run) -> None:
    """Carry out a run, or watch the process that does, until it is finished."""
    from app.operations.bulk_refunds import stop as stop_run
    from app.payments.bulk.records import RunStatus

    click.echo(f"Bulk refund {run.id}", err=True)
    ended = threading.Event()
    worker = _Worker(payments, runs, run, ended)
    worker.start()
    try:
        for _ in progress(_closed_lines(runs, run, worker), runs.count_open(run.id), "Refunding"):
            pass
    except KeyboardInterrupt:
        ended.set()
        worker.join()
        if runs.find(run.id).status != RunStatus.RUNNING:
            raise
        stop_run(runs, run, operator())
        raise click.ClickException(
            f"Stopped. To resume, run: movieapp refunds bulk --resume {run.id}"
        ) from None
    worker.join()
    if worker.error:
        raise worker.error
    if runs.find(run.id).status == RunStatus.RUNNING:
        click.echo(
            "The gateway refuses requests or does not respond. If a worker is running, it continues in a "
            f"minute. To continue now, run: movieapp refunds bulk --resume {run.id}",
            err=True,
        )


class _Worker(threading.Thread):
    """Thread that carries out a run when no other process carries out one."""

    def __init__(self, payments: Payments, runs: RunStore, run: Run, ended: threading.Event) -> None:
        super().__init__(name="bulk-refunds", daemon=True)
        self._payments, self._runs, self._run, self._ended = payments, runs, run, ended
        self.error: Exception | None = None

    def run(self) -> None:
        from app.payments.bulk.execute import carry_out
        from app.payments.bulk.records import RunStatus

        waits = False
        try:
            while not carry_out(self._payments, self._runs, self._run.id, self._ended):
                if self._ended.is_set() or self._runs.find(self._run.id).status != RunStatus.RUNNING:
                    return
                if not waits:
                    click.echo(
                        "Waiting: another process is carrying out a bulk refund, or was killed a moment ago.",
                        err=True,
                    )
                waits = True
                self._ended.wait(_LOOK_SECONDS)
        except Exception as error:  # for the main thread
            self.error = error


def _closed_lines(runs: RunStore, run: Run, worker: _Worker) -> Iterator[None]:
    """Yield once for each closed line, until the worker ends."""
    from app.errors import ServiceUnavailable

    left = runs.count_open(run.id)
    while True:
        alive = worker.is_alive()
        try:
            now_left = runs.count_open(run.id)
        except ServiceUnavailable:  # the worker decides whether to go on
            now_left = left
        yield from [None] * (left - now_left)
        left = now_left
        if not alive:
            return
        worker.join(_LOOK_SECONDS)
