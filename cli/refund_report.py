"""Output of `movieapp refunds`: plans, and the result of each line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from cli.listing import print_csv
from cli.output import fields, print_json, table

if TYPE_CHECKING:
    from app.operations.bulk_refunds import Plan
    from app.payments.bulk.progress import Result
    from app.payments.bulk.records import Run
    from app.payments.service import Payments

_COLUMNS = (
    "line",
    "transaction_id",
    "booking_id",
    "amount",
    "currency",
    "outcome",
    "reason",
    "refund_transaction_id",
)


def show_plan(planned: Plan, *, as_json: bool, as_csv: bool, dry_run: bool) -> None:
    """Print a plan: its totals, and every line that is not refunded in full.

    Args:
        planned: the plan.
        as_json: print every line as JSON.
        as_csv: print every line as CSV.
        dry_run: print the plan to stdout as the result, rather than to stderr.
    """
    from app.payments.bulk.plan import total_text
    from app.payments.bulk.records import REFUNDED_VERDICTS, VERDICT_TEXTS, Verdict

    lines = planned.lines
    rows = [
        (
            line.number,
            line.transaction_id,
            line.booking_id,
            line.amount,
            line.currency,
            line.verdict,
            VERDICT_TEXTS[line.verdict],
            None,
        )
        for line in lines
    ]
    if as_json:
        print_json({"dry_run": True, "totals": dict(planned.run.totals), "lines": _named(rows)})
        return
    if as_csv:
        print_csv(_COLUMNS, _named(rows))
        return
    named = [row for row, line in zip(rows, lines, strict=True) if line.verdict != Verdict.REFUND]
    if named and dry_run:
        table(_COLUMNS[:-1], [row[:-1] for row in named])
    elif named:
        for row in named:
            click.echo(f"Line {row[0]}: {row[1] or row[2]}: {row[6]}", err=True)
    counts = Counter(VERDICT_TEXTS[line.verdict] for line in lines)
    for words, count in counts.items():
        click.echo(f"{count} {words}", err=not dry_run)
    count = sum(line.verdict in REFUNDED_VERDICTS for line in lines)
    total = total_text(planned.run.totals) or "nothing"
    click.echo(f"Plan: {count} of {len(lines)} lines, total {total}.", err=not dry_run)


def report(payments: Payments, run: Run, *, as_json: bool, as_csv: bool) -> None:
    """Print the result of each line. Exit with 1 unless every payment is refunded."""
    from app.operations.bulk_refunds import results
    from app.payments.bulk.progress import sums_of
    from app.payments.bulk.store import RunStore

    found = results(RunStore(), payments.books.ledger, run.id)
    rows = [_row(result) for result in found]
    sums = [
        {"outcome": outcome, "currency": currency, "count": count, "amount": amount}
        for outcome, currency, count, amount in sums_of(found)
    ]
    if as_json:
        print_json({**summary(run), "sums": sums, "lines": _named(rows)})
    elif as_csv:
        print_csv(_COLUMNS, _named(rows))
    else:
        fields({name: as_text(value) for name, value in summary(run).items()})
        click.echo()
        table(_COLUMNS, rows)
        click.echo()
        for each in sums:
            click.echo(f"{each['count']} {each['outcome']}: {each['amount']} {each['currency']}")
        excluded = Counter(result.outcome for result in found if result.line.amount is None)
        for outcome, count in excluded.items():
            click.echo(f"{count} {outcome}")
    if not all(result.is_refunded for result in found):
        raise click.exceptions.Exit(1)


def _row(result: Result) -> tuple[object, ...]:
    line = result.line
    return (
        line.number,
        line.transaction_id,
        line.booking_id,
        line.amount,
        line.currency,
        str(result.outcome),
        result.reason,
        result.refund_id,
    )


def _named(rows: Sequence[Sequence[object]]) -> list[dict[str, object]]:
    return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]


def summary(run: Run) -> dict[str, Any]:
    """Return the fields of a run."""
    return {
        "run_id": run.id,
        "status": run.status,
        "source": run.source,
        "reason": run.reason,
        "operator": run.operator,
        "line_count": run.line_count,
        "totals": dict(run.totals),
        "created_at": run.created_at,
        "confirmed_at": run.confirmed_at,
        "finished_at": run.finished_at,
    }


def as_text(value: Any) -> Any:
    """Format a field of a run for a table: totals by currency on one line."""
    if not isinstance(value, dict):
        return value
    return ", ".join(f"{amount} {currency}" for currency, amount in value.items())
