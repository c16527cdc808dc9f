"""Lists: when they are truncated, and how spreadsheets read them."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import click
import pytest
from click.testing import CliRunner

from cli.listing import DEFAULT_ROWS, Listing, listing_options
from cli.main import main
from cli.reference import walk


@click.command()
@click.argument("count", type=int)
@listing_options()
def numbers(count: int, listing: Listing) -> None:
    rows = ({"id": f"N-{number}", "number": number} for number in range(count))
    listing.show(rows, {"ID": "id"}, csv_fields=("id", "number"), empty="No numbers.")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(numbers, arguments)


def test_a_truncated_table_says_so() -> None:
    cut = run("51")
    assert len(cut.stdout.splitlines()) == DEFAULT_ROWS + 1
    assert "Only the first 50 are shown. Pass --limit N for more, or --json or --csv for all." in cut.stderr
    whole = run("50")
    assert (len(whole.stdout.splitlines()), whole.stderr) == (51, "")


def test_json_and_csv_are_complete_unless_a_limit_is_given() -> None:
    assert len(json.loads(run("1000", "--json").stdout)) == 1000
    assert len(list(csv.reader(io.StringIO(run("1000", "--csv").stdout)))) == 1001
    limited = run("1000", "--json", "--limit", "10")
    assert len(json.loads(limited.stdout)) == 10
    assert "Only the first 10 are shown" in limited.stderr


def test_an_empty_list_is_an_empty_array_a_csv_header_or_a_sentence() -> None:
    assert json.loads(run("0", "--json").stdout) == []
    assert run("0", "--csv").stdout == "id,number\n"
    assert "No numbers." in run("0").stderr


def test_json_and_csv_are_mutually_exclusive() -> None:
    assert run("1", "--json", "--csv").exit_code == 2


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+14155550100", "'+14155550100"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("\t=1", "'\\t=1"),
        ("plain", "plain"),
        (Decimal("-1.50"), "-1.50"),
        (None, ""),
        (["a", "b"], '["a", "b"]'),
    ],
)
def test_csv_cells_are_never_formulas(value: object, cell: str) -> None:
    @click.command()
    @listing_options(bounded=False)
    def one(listing: Listing) -> None:
        listing.show([{"value": value}], {"VALUE": "value"})

    shown = CliRunner().invoke(one, ["--csv"]).stdout
    assert list(csv.reader(io.StringIO(shown))) == [["value"], [cell]]


def test_every_list_supports_csv_and_every_list_with_times_a_time_zone() -> None:
    lists = {
        " ".join(words[1:]): {option for parameter in command.params for option in parameter.opts}
        for words, command in walk(main, ("movieapp",))
        if words[-1] in ("list", "trace")
    }
    assert len(lists) >= 7
    for name, options in lists.items():
        assert {"--json", "--csv"} <= options, name
        assert ("--timezone" in options) == (name != "templates list"), name


@pytest.mark.parametrize(
    ("typo", "meant"),
    [
        ("payment", "payments"),
        ("dead-leters", "dead-letters"),
        ("notification", "notifications"),
        ("tarce", "trace"),
    ],
)
def test_a_typo_gets_a_suggestion(typo: str, meant: str) -> None:
    shown = CliRunner().invoke(main, [typo])
    assert shown.exit_code == 2
    assert "Did you mean" in shown.output
    assert meant in shown.output
    assert "list" in CliRunner().invoke(main, ["payments", "lst"]).output
