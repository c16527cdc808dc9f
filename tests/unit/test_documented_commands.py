"""Every `movieapp …` in the README and in docs is a command that exists, with options that it has."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.main import main

ROOT = Path(__file__).parents[2]

#: Made from the commands themselves.
_GENERATED = ROOT / "docs" / "commands.md"


def documented() -> Iterator[tuple[str, str]]:
    """Page and command: lines of code blocks, and code within sentences."""
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        if page == _GENERATED:
            continue
        prose = []
        for number, part in enumerate(re.split(r"^ *```.*$", page.read_text(), flags=re.MULTILINE)):
            if number % 2:
                for line in part.splitlines():
                    # Settings may stand before a command.
                    if found := re.match(r"\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(movieapp .+)", line):
                        yield page.name, found[1]
            else:
                prose.append(part)
        for found in re.finditer(r"`(?:[A-Z_]+=\S+ )*(movieapp\s[^`]+)`", "\n".join(prose)):
            yield page.name, " ".join(found[1].split())


def resolve(line: str) -> None:
    """Read a command as `movieapp` would, up to where it would begin to work.

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
        # A command keeps the help option that it was first asked for, and others look at it too.
        parent, command = click.Context(command, parent, name, **main.context_settings), found
    # A part of a command, as "`movieapp trace`", needs no arguments.
    resilient = not words
    # Files that pages name are not here.
    arguments = [word if not word.endswith(".json") else str(ROOT / "pyproject.toml") for word in words]
    with command.make_context(command.name, arguments, parent, resilient_parsing=resilient):
        pass  # files that it opened are closed


@pytest.mark.parametrize(("page", "line"), sorted(set(documented())))
def test_a_documented_command_exists(page: str, line: str) -> None:
    resolve(line)


@pytest.mark.parametrize(
    "line", ["movieapp payment list", "movieapp check --loud", "movieapp notifications list --status gone"]
)
def test_what_does_not_exist_is_noticed(line: str) -> None:
    with pytest.raises(click.UsageError):
        resolve(line)


def test_the_pages_are_read() -> None:
    pages = {page for page, _ in documented()}
    assert {"README.md", "runbook.md", "dead-letters.md", "architecture.md"} <= pages
