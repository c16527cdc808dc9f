"""What commands print to a terminal, to a pipe and as JSON."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime

import pytest

from cli import output
from tests.support.terminal import run_on_terminal

ESCAPE = "\x1b[31m"


def test_a_pipe_gets_tab_separated_lines_that_are_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    output.table(("ID", "TEXT"), [("a", "x" * 500), ("b", None)])
    assert capsys.readouterr().out == f"ID\tTEXT\na\t{'x' * 500}\nb\t\n"


def test_control_characters_are_shown_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = f"{ESCAPE}red\nnext\t\u202eback\x9b1m\ud800"
    output.table(("ID",), [(hostile,)])
    output.fields({"field": hostile})
    output.print_json({"field": hostile})
    printed = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in printed)
    assert "\\x1b[31mred\\nnext\\t\\u202eback\\x9b1m\\ud800" in printed


def test_fields_leave_out_what_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    output.fields({"id": "a", "later": datetime(2026, 12, 1, 10, tzinfo=UTC), "none": None})
    assert capsys.readouterr().out == "id     a\nlater  2026-12-01T10:00:00.000Z\n"


def test_times_in_json_are_iso_8601(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json({"at": datetime(2026, 12, 1, 10, tzinfo=UTC)})
    assert json.loads(capsys.readouterr().out) == {"at": "2026-12-01T10:00:00.000Z"}


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
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
