"""`movieapp stats`: statistics of payments and notifications, as tables and plots."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from app.clock import utcnow
from cli.listing import timezone_option
from cli.options import connect, expected_failures, since_option
from cli.output import capture, json_option, plot, print_json, shown, table, zone

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from app.operations.stats import ChannelStats, PaymentStats, Percentiles, Stats, Step

#: Minimum number of intervals shown in a plot.
_FEWEST_STEPS = 5

_DAY = timedelta(days=1)


@click.command()
@since_option("payments and notifications recorded", default="24h")
@click.option("--watch", is_flag=True, help="Refresh the statistics until you press Ctrl-C.")
@click.option(
    "--interval",
    type=click.IntRange(1, 3_600),
    default=5,
    show_default=True,
    help="With --watch: seconds between refreshes.",
)
@timezone_option("Show times in ZONE, such as Europe/Berlin, and start each day at midnight in ZONE.")
@json_option
@expected_failures
def stats(since: datetime, watch: bool, interval: int, as_json: bool) -> None:
    """Show success rates, latencies, failures, revenue, and queues.

    "Processing" is the time from a request to a completed payment. Payments that the customer had to confirm
    do not count. "Event to acceptance" is the time from an event until a mail server or SMS provider accepts
    the email or SMS. Percentiles use only the newest 10,000 completed payments, and the newest 10,000
    accepted emails and SMS.

    \b
    Examples:
        movieapp stats --since 2h
        movieapp stats --since 7d --json
        movieapp stats --watch
    """
    if watch and as_json:
        raise click.UsageError("--watch and --json can't be used together.")
    settings = connect()
    from app.operations.stats import compute_stats

    if watch:
        period = utcnow() - since
        with suppress(KeyboardInterrupt):
            _watch(lambda: compute_stats(settings, utcnow() - period, _zone()), interval)
        return
    found = compute_stats(settings, since, _zone())
    if as_json:
        print_json(_jsonable(found))
    else:
        _print(found)


def _zone() -> ZoneInfo:
    from zoneinfo import ZoneInfo

    chosen = zone.get()
    return chosen if isinstance(chosen, ZoneInfo) else ZoneInfo("UTC")


def _watch(statistics: Callable[[], Stats], interval: int) -> None:
    """Refresh statistics, cut to the height of the terminal, until Ctrl-C."""
    while True:
        height = shutil.get_terminal_size().lines
        found = statistics()
        lines = _lines(found)
        # If space is short, the oldest intervals of a plot are omitted.
        while len(lines) >= height and len(found.payments.steps) > _FEWEST_STEPS:
            found.payments.steps = found.payments.steps[-max(_FEWEST_STEPS, len(found.payments.steps) - 5) :]
            lines = _lines(found)
        if len(lines) >= height:
            missing = len(lines) - height + 2
            lines = [*lines[: height - 2], f"… {missing} more lines: enlarge the terminal"]
        click.clear()
        click.echo("\n".join(lines))
        time.sleep(interval)


def _lines(found: Stats) -> list[str]:
    with capture() as written:
        _print(found)
    return written.getvalue().rstrip("\n").split("\n")


def _jsonable(found: Stats) -> dict[str, Any]:
    document: dict[str, Any] = _plain(found)
    document["payments"]["success_rate"] = found.payments.success_rate
    document["payments"]["step"] = int(found.payments.step.total_seconds())
    for name, channel in found.channels.items():
        document["channels"][name]["success_rate"] = channel.success_rate
        document["channels"][name]["bounce_rate"] = channel.bounce_rate
    return document


def _plain(value: Any) -> Any:
    """Convert to a dict, because `dataclasses.asdict` fails on a Counter."""
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _print(found: Stats) -> None:
    click.echo(
        f"{_local(found.since):%Y-%m-%d %H:%M} to {_local(found.until):%Y-%m-%d %H:%M} {_zone().key}\n"
    )
    _payments(found.payments)
    for name, channel in sorted(found.channels.items()):
        _channel(name, channel)
    _queues(found)


def _local(moment: datetime) -> datetime:
    return moment.astimezone(_zone())


def _payments(payments: PaymentStats) -> None:
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
        table(("error of failed payments", "count"), payments.failures.most_common())
    if payments.by_status:
        click.echo()
        plot(
            ("from", "paid", "failed"),
            [(_start(payments, step), step.paid, step.failed) for step in payments.steps],
        )
    for currency in sorted(payments.revenue):
        click.echo()
        plot(
            ("from", f"revenue {currency}"),
            [(_start(payments, step), step.revenue[currency]) for step in payments.steps],
        )
    click.echo()


def _start(payments: PaymentStats, step: Step) -> str:
    start = _local(step.start)
    return f"{start:%Y-%m-%d}" if payments.step >= _DAY else f"{start:%m-%d %H:%M}"


def _channel(name: str, channel: ChannelStats) -> None:
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
    rates = (
        ("success rate", _percent(channel.success_rate)),
        ("bounce rate", _percent(channel.bounce_rate)),
    )
    table((name, ""), (*rates, ("retries", channel.retries), *times))
    click.echo()


def _rows(counts: Mapping[str, Mapping[str, int]], columns: Sequence[str]) -> Iterable[tuple[object, ...]]:
    for name, row in sorted(counts.items()):
        yield (name, *(row.get(column, 0) for column in columns))


def _queues(found: Stats) -> None:
    if found.queues is None:
        click.echo("The broker is unavailable, so queue depths are unknown.", err=True)
    else:
        columns = ("ready", "delayed", "dead", "unacked")
        rows = ((depth.queue, *(getattr(depth, column) for column in columns)) for depth in found.queues)
        table(("queue", *columns), rows)
    since = f", the oldest from {shown(found.outbox_since)}" if found.outbox_since else ""
    click.echo(f"\nPayments with unpublished events: {found.outbox_waiting}{since}")


def _times(what: str, times: Percentiles | None) -> list[tuple[str, str]]:
    if times is None:
        return []
    ranks = (("p50", times.p50), ("p95", times.p95), ("p99", times.p99))
    return [(f"{what} {name}", f"{seconds:.3f} s") for name, seconds in ranks]


def _percent(part: float | None) -> str | None:
    return None if part is None else f"{part:.1%}"
