"""docs/commands.md, made from the commands: `python -m cli.reference > docs/commands.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from cli.main import main

_HEADER = """\
# The `movieapp` command

What each prints with `--help`. Exit codes: 0 good; 1 what it checks or does is bad, said in one line; 2 wrong
use. `--json` prints JSON on the standard output, and nothing else there; colours, tables and progress bars
appear on a terminal only. Settings come from the environment and `.env`
([.env.example](../.env.example)); where `movieapp dev` runs, every command finds its servers.

Made by `python -m cli.reference`.
"""

_WIDTH = 100


def commands(group: click.Group = main, path: tuple[str, ...] = ("movieapp",)) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something, and of no group."""
    for words, command in walk(group, path):
        if not isinstance(command, click.Group):
            yield words


def walk(group: click.Group, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command under `group` with the words that name it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


def reference() -> str:
    """The whole page."""
    blocks = [_HEADER]
    for words, command in walk(main, ("movieapp",)):
        settings = {**main.context_settings, "max_content_width": _WIDTH, "terminal_width": _WIDTH}
        context = click.Context(command, info_name=" ".join(words), **settings)
        level = "#" * len(words)
        help_text = "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        blocks.append(f"{level} {' '.join(words[1:])}\n\n```text\n{help_text}\n```\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
