"""Every `movieapp …` in the README and in docs is an existing command with valid options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main

ROOT = Path(__file__).parents[2]

#: Generated from the commands.
_GENERATED = ROOT / "docs" / "commands.md"


def documented() -> Iterator[tuple[str, str]]:
    """Yield page and command, from code blocks and inline code."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if page == _GENERATED:
            continue
        prose = []
        for number, part in enumerate(re.split(r"^ *```.*$", page.read_text(), flags=re.MULTILINE)):
            if number % 2:
                for line in part.splitlines():
                    # A command may follow settings.
                    if found := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(movieapp .+)", line):
                        yield page.name, found[1]
            else:
                prose.append(part)
        for found in re.finditer(r"`(?:[A-Z_]+=\S+ )*(movieapp\s[^`]+)`", "\n".join(prose)):
            yield page.name, " ".join(found[1].split())


def resolve(line: str) -> None:
    """Parse a command as `movieapp` does, without running it.

    Raises:
        click.UsageError: there is no such command, option or choice, or an argument is missing.
    """
    words = shlex.split(line, comments=True)
    words = words[1 : min((words.index(sign) for sign in "|>&" if sign in words), default=len(words))]
    command: click.Command = main
    parent: click.Context | None = None
    while isinstance(command, click.Group):
        if not words:
            return
        name, *words = words
        found = command.get_command(click.Context(command), name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        # Click caches the help option of a command, and other tests inspect it too.
        parent, command = click.Context(command, parent, name, **main.context_settings), found
    # An incomplete command, such as "`movieapp trace`", needs no arguments.
    resilient = not words
    # Files named on the pages do not exist here.
    arguments = [
        word if not word.endswith((".json", ".csv")) else str(ROOT / "pyproject.toml") for word in words
    ]
    with command.make_context(command.name, arguments, parent, resilient_parsing=resilient):
        pass  # close the files that it opened


@pytest.mark.parametrize(("page", "line"), sorted(set(documented())))
def test_a_documented_command_exists(page: str, line: str) -> None:
    resolve(line)


@pytest.mark.parametrize(
    "line", ["movieapp payment list", "movieapp check --loud", "movieapp notifications list --status gone"]
)
def test_an_unknown_command_is_detected(line: str) -> None:
    with pytest.raises(click.UsageError):
        resolve(line)


def test_commands_are_found_in_the_pages() -> None:
    pages = {page for page, _ in documented()}
    assert {"README.md", "runbook.md", "dead-letters.md", "architecture.md"} <= pages
