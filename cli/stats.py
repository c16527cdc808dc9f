"""`movieapp stats`: statistics of payments and notifications, as tables and plots."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from app.clock import utcnow
from cli.options import connect, expected_failures, moment
from cli.output import json_option, plot, print_json, table

if TYPE_CHECKING:
    from app.operations.stats import ChannelFigures, Figures, PaymentFigures, Percentiles, Step
    from app.settings import Settings


@click.command()
@click.option(
    "--since",
    type=moment,
    default="24h",
    show_default=True,
    metavar="AGE|TIME",
    help="Start of the period: 2h, 7d, or a time.",
)
@click.option("--watch", is_flag=True, help="Show them anew every few seconds, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.IntRange(1, 3_600),
    default=5,
    show_default=True,
    help="Seconds between refreshes with --watch.",
)
@json_option
@expected_failures
def stats(since: datetime, watch: bool, interval: int, as_json: bool) -> None:
    """Show success rates, times, failures, revenue, and queues.

    Times are from asking for a payment to its completion, and from an event to the acceptance of its mail;
    percentiles are of the newest 10 000.

    \b
    Examples:
        movieapp stats --since 2h
        movieapp stats --since 7d --json
        movieapp stats --watch
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json exclude each other")
    settings = connect()
    span = utcnow() - since
    if not watch:
        _show(settings, since, as_json)
        return
    with suppress(KeyboardInterrupt):
        while True:
            click.clear()
            _show(settings, utcnow() - span, as_json=False)
            time.sleep(interval)


def _show(settings: Settings, since: datetime, as_json: bool) -> None:
    from app.operations.stats import figures

    found = figures(settings, since)
    if as_json:
        print_json(_jsonable(found))
    else:
        _print(found)


def _jsonable(found: Figures) -> dict[str, Any]:
    told: dict[str, Any] = _plain(found)
    told["payments"]["success_rate"] = found.payments.success_rate
    told["payments"]["step"] = int(found.payments.step.total_seconds())
    for name, channel in found.channels.items():
        told["channels"][name]["success_rate"] = channel.success_rate
    return told


def _plain(value: Any) -> Any:
    """`dataclasses.asdict`, which would break on a Counter."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _print(found: Figures) -> None:
    click.echo(f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC\n")
    _payments(found.payments)
    for name, channel in sorted(found.channels.items()):
        _channel(name, channel)
    _queues(found)


def _payments(payments: PaymentFigures) -> None:
    table(
        ("payments", ""),
        (
            ("success rate", _percent(payments.success_rate)),
            *sorted(payments.by_status.items()),
            *((f"by {method}", count) for method, count in payments.by_method.most_common()),
            *((f"revenue {currency}", amount) for currency, amount in sorted(payments.revenue.items())),
            *((f"refunded {currency}", amount) for currency, amount in sorted(payments.refunded.items())),
            *((f"disputed {currency}", amount) for currency, amount in sorted(payments.disputed.items())),
            *_times("processing", payments.processing),
        ),
    )
    if payments.failures:
        click.echo()
        table(("why payments failed", "count"), payments.failures.most_common())
    if payments.by_status:
        click.echo()
        _course(payments)
    click.echo()


def _course(payments: PaymentFigures) -> None:
    """Print payments and revenue over time. Of several currencies, the largest is plotted."""
    currency = max(payments.revenue, key=payments.revenue.__getitem__, default=None)

    def revenue(step: Step) -> Decimal:
        return step.revenue[currency] if currency else Decimal(0)

    plot(
        ("from", "paid", "failed", f"revenue {currency}") if currency else ("from", "paid", "failed"),
        [
            (f"{step.start:%m-%d %H:%M}", step.paid, step.failed, *([revenue(step)] if currency else []))
            for step in payments.steps
        ],
    )


def _channel(name: str, channel: ChannelFigures) -> None:
    statuses = sorted(channel.by_status)
    table(
        (name, *statuses),
        [
            *_rows(channel.by_template, statuses),
            ("all", *(channel.by_status[status] for status in statuses)),
        ],
    )
    click.echo()
    times = _times("event to acceptance", channel.latency)
    rate = ("success rate", _percent(channel.success_rate))
    table((name, ""), (rate, ("retries", channel.retries), *times))
    click.echo()


def _rows(counts: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> Iterable[tuple[object, ...]]:
    for name, row in sorted(counts.items()):
        yield (name, *(row.get(column, 0) for column in columns))


def _queues(found: Figures) -> None:
    if found.queues is None:
        click.echo("The broker does not answer: no queue depths.", err=True)
    else:
        columns = ("ready", "delayed", "dead", "unacked")
        rows = ((depth.queue, *(getattr(depth, column) for column in columns)) for depth in found.queues)
        table(("queue", *columns), rows)
    since = f", the first since {found.outbox_since:%Y-%m-%d %H:%M:%S} UTC" if found.outbox_since else ""
    click.echo(f"\n{found.outbox_waiting} transactions have events to publish{since}")


def _times(what: str, times: Percentiles | None) -> list[tuple[str, str]]:
    if times is None:
        return []
    ranks = (("p50", times.p50), ("p95", times.p95), ("p99", times.p99))
    return [(f"{what} {name}", f"{seconds:.3f} s") for name, seconds in ranks]


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{part:.1%}"
