"""Rules for every command of `movieapp`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import main
from cli.reference import commands, reference, walk
from cli.stack_file import StackFile

ROOT = Path(__file__).parents[2]
LEAVES = list(commands())

#: Commands that run until they are stopped, or that print no data: a script, a mail, a page, a sentence.
WITHOUT_JSON = {
    "attempts lift",
    "dev",
    "serve",
    "worker",
    "completion",
    "test-send",
    "events sample",
    "events publish",
    "templates render",
    "templates gallery",
    "keys revoke",
    "refunds stop",
    "privacy export",
}


@pytest.mark.parametrize("words", LEAVES, ids=" ".join)
def test_help_has_an_example_of_the_command_itself(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*words[1:], "--help"], terminal_width=100)
    assert shown.exit_code == 0, shown.output
    example = shown.output.partition("Example")[2]
    assert " ".join(words) in example


def test_every_option_has_a_help_text() -> None:
    options = [
        (" ".join(words), option)
        for words, command in walk(main, ("movieapp",))
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
    ]
    assert [(words, option.opts) for words, option in options if not option.help] == []


def test_commands_that_print_data_support_json() -> None:
    with_json = {
        " ".join(words[1:])
        for words, command in walk(main, ("movieapp",))
        if any("--json" in parameter.opts for parameter in command.params)
    }
    leaves = {" ".join(words[1:]) for words in LEAVES}
    assert leaves - with_json == WITHOUT_JSON


def test_listing_the_commands_loads_none_of_them() -> None:
    code = (
        "import sys; from cli.main import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = set(re.findall(r" (cli\.\w+)\b", shown.splitlines()[-1]))
    assert "cli.main" in loaded
    assert loaded <= {"cli.main", "cli.options", "cli.output", "cli.stack_file"}
    for name in main.list_commands(click.Context(main)):
        assert re.search(rf"^  {name} +[A-Z].*\.$", shown, re.M), f"{name} needs a summary in cli.main"


def test_wrong_use_is_exit_code_2() -> None:
    for words in LEAVES:
        shown = CliRunner().invoke(main, [*words[1:], "--no-such-option"])
        assert shown.exit_code == 2, words


def test_commands_use_the_stack_that_runs_from_the_data_directory(tmp_path: Path) -> None:
    stack = StackFile(tmp_path)
    assert stack.acquire()
    stack.write({"FROM_NAME": "Odeon of the stack"})
    render = ["templates", "render", "payment_success", "--eml"]
    for directory, uses_stack in ((tmp_path, True), (tmp_path / "elsewhere", False)):
        command = [sys.executable, "-m", "cli.main", "--data-dir", str(directory), *render]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
        assert ("Odeon of the stack" in done.stdout) == uses_stack


def test_an_unknown_command_is_exit_code_2() -> None:
    assert CliRunner().invoke(main, ["pay"]).exit_code == 2


def test_the_reference_is_current() -> None:
    assert (ROOT / "docs/commands.md").read_text() == reference()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_shell_parses_the_completion_script(shell: str) -> None:
    script = CliRunner().invoke(main, ["completion", shell])
    assert script.exit_code == 0
    assert "_MOVIEAPP_COMPLETE" in script.output
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script.output, text=True, check=True, timeout=20)


@pytest.mark.parametrize(
    ("typed", "expected"), [("dead-letters re", "replay"), ("test-send booking_c", "booking_cancellation")]
)
def test_values_are_completed(typed: str, expected: str) -> None:
    words = f"movieapp {typed}"
    environment = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", "from cli.main import main; main(prog_name='movieapp')"],
        env={"_MOVIEAPP_COMPLETE": "bash_complete", "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert expected in done.stdout, done.stderr


def test_help_of_a_group_lists_its_commands() -> None:
    for words, command in walk(main, ("movieapp",)):
        if isinstance(command, click.Group):
            shown = CliRunner().invoke(main, [*words[1:], "--help"])
            assert "Commands:" in shown.output


def test_summaries_fit_the_listing_of_their_group_on_80_columns() -> None:
    for words, command in [(("movieapp",), main), *walk(main, ("movieapp",))]:
        if isinstance(command, click.Group):
            shown = CliRunner().invoke(main, [*words[1:], "--help"], terminal_width=80).output
            listed = shown.partition("Commands:\n")[2].splitlines()
            assert len(listed) == len(command.list_commands(click.Context(command)))
            assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_help_loads_no_slow_libraries() -> None:
    """Each command imports its modules when it runs, so that --help is fast."""
    found = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli.main", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in found.splitlines()}
    assert {"click", "cli"} <= loaded
    heavy = {"dramatiq", "flask", "jinja2", "mongoengine", "pika", "pydantic", "pymongo", "redis", "rich"}
    assert loaded & (heavy | {"stripe", "structlog"}) == set()
