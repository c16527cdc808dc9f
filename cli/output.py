"""Command output: layouts and progress bars on a terminal, plain lines, JSON, and CSV for programs.

Shown values come from customers and other services, so control characters and markup are escaped.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.clock import iso

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

T = TypeVar("T")

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

#: The time zone for a terminal; None until an option or the settings set it.
zone: ContextVar[tzinfo | None] = ContextVar("zone", default=None)

#: Spaces between two columns of a layout, and before the fields of a record.
_COLUMN_GAP = 2

#: Minimum width of a readable text column.
_READABLE_WIDTH = 24

#: Headings of columns whose values have a color.
_COLORED = frozenset({"status", "outcome", "what", "level"})

#: Status → style.
_STYLES = {
    **dict.fromkeys(("ok", "completed", "sent", "delivered"), "green"),
    **dict.fromkeys(("failed", "bad", "bounced", "undelivered", "charged_although_failed"), "bold red"),
    **dict.fromkeys(("refund_failed", "uncertain", "needs_response", "lost"), "bold red"),
    **dict.fromkeys(("pending", "requires_action", "queued", "sending", "retrying", "warning"), "yellow"),
    **dict.fromkeys(("refund_pending", "under_review"), "yellow"),
    **dict.fromkeys(("refunded", "partially_refunded", "canceled", "skipped", "won"), "cyan"),
}


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows as a table: fitted to a terminal's width, or tab-separated and uncut to a pipe.

    Ids, times, and numbers are never split. Where the terminal is too narrow for columns, each row becomes a
    block of `heading value`.

    Args:
        columns: the headings. The first column names the row.
        rows: one value for each column; None is left empty.
    """
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(map(text, row)))
        return
    from rich.console import Console

    console = Console(highlight=False)
    values = [
        [cell if isinstance(cell, int | float | Decimal) else shown(cell) for cell in row] for row in rows
    ]
    cells = [[str(cell) for cell in row] for row in values]
    widths = _widths(columns, cells, console.width)
    if widths is None:
        _print_blocks(console, columns, cells)
    else:
        numbers = [all(not isinstance(row[at], str) for row in values) for at in range(len(columns))]
        _print_columns(console, columns, cells, widths, numbers)


def _widths(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> list[int] | None:
    """Return the width of each column; None if the columns do not fit."""
    from rich.cells import cell_len

    natural = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    least = [
        _least_width(heading, each, [row[at] for row in cells])
        for at, (heading, each) in enumerate(zip(columns, natural, strict=True))
    ]
    free = width - _COLUMN_GAP * (len(columns) - 1)
    if sum(least) > free:
        return None
    spare = free - sum(least)
    for at, full_width in enumerate(natural):
        more = min(spare, full_width - least[at])
        least[at] += more
        spare -= more
    return least


def _least_width(heading: str, natural: int, cells: Iterable[str]) -> int:
    """Return a column's least width: its full width, unless it has words that can be wrapped."""
    from rich.cells import cell_len

    times = all(cell[:1].isdigit() for cell in cells if cell)
    longest = max((cell_len(word) for cell in cells for word in cell.split()), default=0)
    wraps = not times and any(" " in cell for cell in cells)
    return min(natural, max(_READABLE_WIDTH, longest, cell_len(heading))) if wraps else natural


def _print_columns(
    console: Console,
    columns: Sequence[str],
    cells: Sequence[Sequence[str]],
    widths: Sequence[int],
    numbers: Sequence[bool],
) -> None:
    from rich.table import Table
    from rich.text import Text

    layout = Table(box=None, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0), header_style="bold")
    for heading, width, number in zip(columns, widths, numbers, strict=True):
        justify: Any = "right" if number else "left"
        layout.add_column(Text(heading), width=width, justify=justify, overflow="fold")
    for row in cells:
        layout.add_row(*(_styled(heading, cell) for heading, cell in zip(columns, row, strict=True)))
    console.print(layout)


def _print_blocks(console: Console, columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Print each row as a block: its name, then as many fields on each line as fit."""
    from rich.text import Text

    for row in cells:
        console.print(Text(row[0], "bold"), overflow="fold")
        line = Text(" " * _COLUMN_GAP)
        for heading, cell in zip(columns[1:], row[1:], strict=True):
            if not cell:
                continue
            pair = Text.assemble((f"{heading.lower()} " if heading else "", "dim"), _styled(heading, cell))
            if line.cell_len > _COLUMN_GAP and line.cell_len + _COLUMN_GAP + pair.cell_len > console.width:
                console.print(line)
                line = Text(" " * _COLUMN_GAP)
            if line.cell_len > _COLUMN_GAP:
                line.append(" " * _COLUMN_GAP)
            line.append_text(pair)
            if line.cell_len > console.width:
                for part in line.wrap(console, console.width - _COLUMN_GAP):
                    part.rstrip()
                    part.pad_left(0 if part.plain.startswith(" ") else _COLUMN_GAP)
                    console.print(part)
                line = Text(" " * _COLUMN_GAP)
        if line.cell_len > _COLUMN_GAP:
            console.print(line)


def _styled(heading: str, cell: str) -> Text:
    from rich.text import Text

    return Text(cell, _STYLES.get(cell, "") if heading.lower() in _COLORED or not heading else "")


def plot(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], styles: Sequence[str] = ("green", "red")
) -> None:
    """Print numbers over time as a table, on a terminal with bars.

    Args:
        columns: the headings; the first is for the time.
        rows: a time and its numbers, all in one unit.
        styles: color of each number in the bar.
    """
    if not sys.stdout.isatty():
        table(columns, rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    layout = Table(box=None, pad_edge=False, padding=(0, _COLUMN_GAP, 0, 0), header_style="bold")
    for number, name in enumerate(columns):
        layout.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    layout.add_column(no_wrap=True)
    cells = [[str(cell) for cell in row] for row in rows]
    used = sum(max(map(len, column)) + _COLUMN_GAP for column in zip(columns, *cells, strict=True))
    width = max(8, console.width - used - 1)
    largest = max((sum(map(float, row[1:])) for row in rows), default=0.0) or 1.0
    for row, numbers in zip(cells, rows, strict=True):
        bar = Text()
        end = 0.0
        for number, style in zip(numbers[1:], styles, strict=False):
            start, end = round(end), end + float(number) / largest * width
            # Any value above zero is visible.
            bar.append("█" * max(round(end) - start, 1 if number else 0), style)
        layout.add_row(*row, bar)
    console.print(layout)


@contextmanager
def capture() -> Iterator[io.StringIO]:
    """Capture the terminal output of this module's functions."""
    written = _Screen()
    with redirect_stdout(written):
        yield written


class _Screen(io.StringIO):
    """A terminal's lines, in memory."""

    def isatty(self) -> bool:
        return True


def fields(values: Mapping[str, object]) -> None:
    """Print the fields of a record, one a line, without those that are None or empty."""
    width = max(map(len, values), default=0) + _COLUMN_GAP
    on_terminal = sys.stdout.isatty()
    for name, value in values.items():
        if value is None:
            continue
        written = shown(value) if on_terminal else text(value)
        style = _STYLES.get(written, "") if on_terminal and name in _COLORED else ""
        color = style.removeprefix("bold ") or None
        click.echo(f"{name:{width}}" + (click.style(written, color) if color else written))


def print_json(value: Any) -> None:
    """Print JSON, with times as ISO 8601 in UTC. A generator is printed as an array, item by item."""
    if not isinstance(value, Iterator):
        click.echo(_safe(json.dumps(value, indent=2, default=_jsonable, ensure_ascii=False)))
        return
    separator = "["
    for item in value:
        lines = _safe(json.dumps(item, indent=2, default=_jsonable, ensure_ascii=False))
        click.echo(f"{separator}\n  " + lines.replace("\n", "\n  "), nl=False)
        separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def progress(iterable: Iterable[T], total: int | None, label: str) -> Iterator[T]:
    """Yield from `iterable`, with a progress bar if stderr is a terminal.

    Args:
        iterable: the items.
        total: number of items; None if unknown.
        label: label of the bar.
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


def shown(value: object) -> str:
    """Format `value` for people: like `text`, with times to the second in the operator's zone."""
    if not isinstance(value, datetime):
        return text(value)
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    local = aware.astimezone(zone.get() or UTC).replace(microsecond=0)
    return local.isoformat(" ").replace("+00:00", "Z")


def _safe(encoded: str) -> str:
    """Return JSON with unprintable characters escaped, and all others unchanged."""
    if encoded.isascii():
        return encoded
    return "".join(char if char == "\n" or char.isprintable() else json.dumps(char)[1:-1] for char in encoded)


def _jsonable(value: object) -> str:
    return iso(value) if isinstance(value, datetime) else str(value)
