"""Output of commands on a terminal, to a pipe, and as JSON."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from cli import output
from tests.support.terminal import run_on_terminal

ESCAPE = "\x1b[31m"


def test_a_pipe_gets_tab_separated_lines_that_are_never_truncated(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("ID", "TEXT"), [("a", "x" * 500), ("b", None)])
    assert capsys.readouterr().out == f"ID\tTEXT\na\t{'x' * 500}\nb\t\n"


def test_control_characters_are_escaped_in_output(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = f"{ESCAPE}red\nnext\t\u202eback\x9b1m\ud800"
    output.table(("ID",), [(hostile,)])
    output.fields({"field": hostile})
    output.print_json({"field": hostile})
    printed = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert "\\x1b[31mred\\nnext\\t\\u202eback\\x9b1m\\ud800" in printed


def test_unknown_fields_are_omitted(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields({"id": "a", "later": datetime(2026, 12, 1, 10, tzinfo=UTC), "none": None})
    assert capsys.readouterr().out == "id     a\nlater  2026-12-01T10:00:00.000Z\n"


def test_times_in_json_are_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"at": datetime(2026, 12, 1, 10, tzinfo=UTC)})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-12-01T10:00:00.000Z"}


def test_names_in_json_are_readable_and_control_characters_are_not_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = "Zoë Łukasz 山田 \u202e\x9b😀\ue000\U000e0001"
    output.print_json({"name": name})
    printed = capsys.readouterr().out
    assert "Zoë Łukasz 山田 \\u202e\\u009b😀\\ue000\\udb40\\udc01" in printed
    assert json.loads(printed) == {"name": name}


def test_json_of_a_generator_is_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json(item for item in ({"a": 1}, {"a": [2]}))
    assert json.loads(capsys.readouterr().out) == [{"a": 1}, {"a": [2]}]
    output.print_json(iter([]))
    assert json.loads(capsys.readouterr().out) == []


def _plain(shown: str) -> str:
    """Return a terminal's content without colors."""
    return re.sub(r"\x1b\[[0-9;]*m", "", shown)


ROWS = [
    (
        "TXN-834cae79ea80848d7ec08ae522071590",
        datetime(2026, 12, 1, 10, tzinfo=UTC),
        "completed",
        1234.5,
        "BOOK-1",
    ),
    ("TXN-1", datetime(2026, 12, 1, 11, 30, tzinfo=UTC), "failed", 2, "550 5.1.1 no such user " * 4),
]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_tables_never_wrap_times_or_ids(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    with output.capture() as written:
        output.table(("transaction", "created", "status", "amount", "detail"), ROWS)
    lines = _plain(written.getvalue()).splitlines()
    assert all(len(line) <= width for line in lines)
    for whole in ("TXN-834cae79ea80848d7ec08ae522071590", "2026-12-01 10:00:00Z", "completed", "1234.5"):
        assert any(whole in line for line in lines), whole
    assert not [line for line in lines if len(line.strip()) == 1]
    assert " ".join(lines).count("5.1.1") == 4


def test_times_on_a_terminal_are_in_the_chosen_zone() -> None:
    before = output.zone.set(ZoneInfo("Europe/Berlin"))
    try:
        assert output.shown(datetime(2026, 7, 1, 10, tzinfo=UTC)) == "2026-07-01 12:00:00+02:00"
        assert output.shown(datetime(2026, 12, 1, 10, tzinfo=UTC)) == "2026-12-01 11:00:00+01:00"
    finally:
        output.zone.reset(before)


def test_bars_of_a_plot_share_one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with output.capture() as written:
        output.plot(("from", "paid", "failed"), [("10:00", 10, 0), ("11:00", 0, 5), ("12:00", 5, 5)])
    ten, five, both = (line.count("█") for line in written.getvalue().splitlines()[1:])
    assert ten == both
    assert abs(five - ten / 2) <= 1


def test_progress_is_not_shown_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(output.progress([1, 2], 2, "Working")) == [1, 2]
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_layout_and_a_progress_bar() -> None:
    code = "; ".join(
        (
            "from cli import output",
            r"output.table(('ID', 'TEXT'), [('a', '[red]x[/red]\x1b[2J')])",
            "print(sum(output.progress(range(3), 3, 'Working')))",
        )
    )
    returncode, shown = run_on_terminal([sys.executable, "-c", code])
    assert returncode == 0, shown
    assert "[red]x[/red]\\x1b[2J" in shown
    assert "\t" not in shown
    assert "Working" in shown
    assert "100%" in shown
