"""Options and output of lists: `--limit`, `--json`, `--csv`, and `--timezone`."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import wraps
from itertools import islice
from typing import Any

import click

from cli.output import print_json, table, text, zone

#: Default maximum number of rows of a table.
DEFAULT_ROWS = 50

#: Characters that start a formula in a spreadsheet (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


class TimeZone(click.ParamType[Any]):
    """A time zone of the IANA database."""

    name = "zone"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            return ZoneInfo(value)
        except (ValueError, ZoneInfoNotFoundError, OSError):
            self.fail(f"must be an IANA time zone, such as Europe/Berlin, got {value!r}.", param, ctx)


def _use_zone(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
    if value is not None:
        zone.set(value)
    return value


def timezone_option(purpose: str) -> Callable[[Any], Any]:
    """Return the decorator that adds `--timezone`.

    Args:
        purpose: its help, which explains ZONE.
    """
    return click.option(
        "--timezone",
        type=TimeZone(),
        metavar="ZONE",
        callback=_use_zone,
        expose_value=False,
        help=f"{purpose}  [default: DASHBOARD_TIMEZONE]",
    )


@dataclass(frozen=True)
class Listing:
    """Output options of a list.

    Attributes:
        limit: maximum number of rows; None if not given.
        as_json: print JSON.
        as_csv: print CSV.
        bounded: whether a table stops after `DEFAULT_ROWS`.
    """

    limit: int | None
    as_json: bool
    as_csv: bool
    bounded: bool

    @property
    def rows(self) -> int | None:
        """Return the maximum number of rows to print; None for all."""
        if self.limit or self.as_json or self.as_csv or not self.bounded:
            return self.limit
        return DEFAULT_ROWS

    @property
    def fetch_limit(self) -> int | None:
        """Return the maximum number of rows to look up: one more than to print, to detect more rows."""
        return None if self.rows is None else self.rows + 1

    def show(
        self,
        rows: Iterable[Mapping[str, Any]],
        columns: Mapping[str, str],
        *,
        csv_fields: Sequence[str] = (),
        empty: str = "Nothing found.",
    ) -> bool:
        """Print rows.

        Args:
            rows: at most `fetch_limit` rows, all with the same fields.
            columns: heading → field, for a table.
            csv_fields: fields for CSV; empty for those of the table.
            empty: message to print instead of an empty table.

        Returns:
            Whether the list was cut.
        """
        found = iter(rows)
        printed = found if self.rows is None else islice(found, self.rows)
        if self.as_json:
            print_json(item for item in printed)
        elif self.as_csv:
            print_csv(csv_fields or tuple(columns.values()), printed)
        else:
            shown = list(printed)
            if shown:
                table(tuple(columns), [[_cell(row[field]) for field in columns.values()] for row in shown])
            else:
                click.echo(empty, err=True)
        cut = next(found, None) is not None
        if cut:
            complete = "" if self.as_json or self.as_csv else ", or --json or --csv for all"
            click.echo(f"Only the first {self.rows} are shown. Pass --limit N for more{complete}.", err=True)
        return cut


def listing_options(*, bounded: bool = True, has_times: bool = True) -> Callable[[Callable[..., None]], Any]:
    """Return a decorator for commands that print a list: it passes a `Listing` as `listing`.

    Args:
        bounded: whether a table stops after `DEFAULT_ROWS`.
        has_times: whether the rows have times, which `--timezone` changes.
    """
    rows = ", with all rows unless --limit is given" if bounded else ""
    options: list[Callable[[Any], Any]] = [
        click.option("--json", "as_json", is_flag=True, help=f"Print JSON{rows}."),
        click.option("--csv", "as_csv", is_flag=True, help=f"Print CSV{rows}."),
    ]
    if has_times:
        options.append(timezone_option("On a terminal, show times in ZONE, such as Europe/Berlin."))
    if bounded:
        limit = click.option(
            "--limit",
            type=click.IntRange(1),
            metavar="N",
            help=f"Maximum number of rows.  [default: {DEFAULT_ROWS} in a table]",
        )
        options.insert(0, limit)

    def decorate(command: Callable[..., None]) -> Any:
        @wraps(command)
        def run(as_json: bool, as_csv: bool, *args: Any, limit: int | None = None, **kwargs: Any) -> None:
            if as_json and as_csv:
                raise click.UsageError("--json and --csv can't be used together.")
            command(*args, listing=Listing(limit, as_json, as_csv, bounded), **kwargs)

        decorated: Any = run
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate


def _cell(value: Any) -> Any:
    """Format a value for a table."""
    match value:
        case Mapping():
            return "  ".join(f"{name}={item}" for name, item in value.items())
        case list() | tuple():
            return " ".join(map(str, value))
        case _:
            return value


def print_csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows as CSV with a header (RFC 4180, but for line ends), safe to open in a spreadsheet.

    Args:
        names: names of the fields to print.
        rows: rows that have at least these fields.
    """
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_csv_cell(row[name]) for name in names])


def _csv_cell(value: object) -> object:
    """Format a cell so that no spreadsheet treats it as a formula: a quote makes it text."""
    if value is None or isinstance(value, bool | int | float | Decimal):
        return value
    if isinstance(value, Mapping | list | tuple):
        value = json.dumps(value, default=text, ensure_ascii=False)
    cell = text(value)
    if isinstance(value, datetime):
        return cell
    return f"'{cell}" if cell.startswith(_FORMULA) or cell.startswith(("\\t", "\\r")) else cell
