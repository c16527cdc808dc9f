"""`movieapp`: the operators' command. Each family of commands is a module of its own, loaded when used."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from cli.options import DATA_DIR_TYPE

#: Command → where it is defined.
_COMMANDS = {
    "dev": "cli.dev:dev",
    "serve": "cli.serve:serve",
    "worker": "cli.worker:worker",
    "events": "cli.events:events",
    "payments": "cli.payments:payments",
    "trace": "cli.trace:trace",
    "check": "cli.check:check",
    "stats": "cli.stats:stats",
    "dead-letters": "cli.dead_letters:dead_letters",
    "notifications": "cli.notifications:notifications",
    "templates": "cli.templates:templates",
    "smtp-check": "cli.smtp_check:smtp_check",
    "test-send": "cli.test_send:test_send",
    "keys": "cli.keys:keys",
    "migrate": "cli.migrate:migrate",
    "attempts": "cli.attempts:attempts",
    "completion": "cli.completion:completion",
}

#: Short name → command.
_ALIASES = {"dlq": "dead-letters"}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. A reader that closes the pipe, such as head, has seen enough: that is no failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # What is still buffered must not meet the closed pipe again when Python ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        target = _COMMANDS.get(_ALIASES.get(cmd_name, cmd_name))
        if target is None:
            return None
        module, name = target.split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="movieapp")
@click.option(
    "--data-dir",
    type=DATA_DIR_TYPE,
    default=Path(".movieapp"),
    show_default=True,
    envvar="MOVIEAPP_DATA_DIR",
    show_envvar=True,
    help="The data directory of `movieapp dev`. Commands use the stack that runs from it.",
)
def main(data_dir: Path) -> None:
    """Payment and notification services of a movie-ticket booking system.

    \b
    Start the whole system on this machine:
        movieapp dev
    """


if __name__ == "__main__":
    main()
