"""Command output: tables and progress bars on a terminal, plain lines and JSON for programs.

What is shown comes from customers and other services, so nothing of it reaches a terminal as a control
character or as markup.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from app.clock import iso

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under headings: aligned on a terminal, else tab-separated and never cut.

    Args:
        columns: the headings. The first column is an id: it is never wrapped.
        rows: as many values each; None is left empty.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(map(text, row)))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    layout = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(columns):
        layout.add_column(Text(heading), overflow="fold", no_wrap=number == 0)
    for row in rows:
        layout.add_row(*(Text(text(value)) for value in row))
    Console().print(layout)


def plot(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print numbers over time: as `table` does, with bars on a terminal.

    Args:
        columns: the headings; the first is of the time.
        rows: a time and its numbers. A bar is as long as its number in comparison to its column's largest.
    """
    if not sys.stdout.isatty():
        table(columns, rows)
        return
    from rich.bar import Bar
    from rich.console import Console
    from rich.table import Table

    time, *names = columns
    layout = Table(box=None, pad_edge=False, header_style="bold")
    layout.add_column(time, no_wrap=True)
    for name in names:
        layout.add_column(name, justify="right", no_wrap=True)
        layout.add_column(ratio=1)
    layout.expand = True
    largest = [max(1.0, *map(float, column)) for column in list(zip(*rows, strict=True))[1:]]
    for moment, *numbers in rows:
        bars = (Bar(most, 0, float(number)) for most, number in zip(largest, numbers, strict=True))
        layout.add_row(moment, *(cell for pair in zip(map(str, numbers), bars, strict=True) for cell in pair))
    Console().print(layout)


def fields(values: Mapping[str, object]) -> None:
    """Print the fields of a record, one a line, without those that are None."""
    width = max(map(len, values), default=0) + 2
    for name, value in values.items():
        if value is not None:
            click.echo(f"{name:{width}}{text(value)}")


def print_json(value: Any) -> None:
    """Print JSON, with times as ISO 8601 in UTC."""
    click.echo(json.dumps(value, indent=2, default=_jsonable))


def progress(iterable: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Yield from `iterable`, with a progress bar if stderr is a terminal.

    Args:
        iterable: what is worked on.
        total: how many there will be; None if nobody knows.
        label: says what is done.
    """
    if not sys.stderr.isatty():
        yield from iterable
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(iterable, label, total, console=Console(stderr=True), transient=True)


def text(value: object) -> str:
    """Return `value` on one line that is safe to print: control characters become escapes."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return iso(value)
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode()
        for char in str(value)
    )


def _jsonable(value: object) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)
