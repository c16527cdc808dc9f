"""The `movieapp` command. Each group of commands is a module that is loaded when used."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from cli.options import DATA_DIR_TYPE

#: Command → the module that defines it.
_COMMANDS = {
    "dev": "cli.dev:dev",
    "serve": "cli.serve:serve",
    "worker": "cli.worker:worker",
    "events": "cli.events:events",
    "payments": "cli.payments:payments",
    "refunds": "cli.refunds:refunds",
    "trace": "cli.trace:trace",
    "check": "cli.check:check",
    "stats": "cli.stats:stats",
    "dead-letters": "cli.dead_letters:dead_letters",
    "notifications": "cli.notifications:notifications",
    "bounces": "cli.bounces:bounces",
    "suppressions": "cli.suppressions:suppressions",
    "templates": "cli.templates:templates",
    "smtp-check": "cli.smtp_check:smtp_check",
    "test-send": "cli.test_send:test_send",
    "keys": "cli.keys:keys",
    "audit": "cli.audit:audit",
    "privacy": "cli.privacy:privacy",
    "migrate": "cli.migrate:migrate",
    "attempts": "cli.attempts:attempts",
    "completion": "cli.completion:completion",
}

#: Command → its line in `movieapp --help`. Reading it from each command would load every module.
_SUMMARIES = {
    "dev": "Run the whole system on this machine.",
    "serve": "Run the payment API.",
    "worker": "Send emails and SMS for events, and run periodic tasks.",
    "events": "Print sample events; validate and publish events.",
    "payments": "List, show, total, cancel, and reconcile payments.",
    "refunds": "Refund many payments at once.",
    "trace": "Show everything stored about an id or an address.",
    "check": "Check the settings, every server, and overdue work.",
    "stats": "Show success rates, latencies, failures, revenue, and queues.",
    "dead-letters": "List, show, replay, and drop dead letters.",
    "notifications": "List, show, and resend emails and SMS.",
    "bounces": "Process bounce messages.",
    "suppressions": "List, add, and remove suppressed recipients.",
    "templates": "List and render email templates.",
    "smtp-check": "Connect to the SMTP server and log in, without sending email.",
    "test-send": "Send a sample email, rendered from a template.",
    "keys": "Create, list, and revoke API keys.",
    "audit": "List operators' actions.",
    "privacy": "Export and erase a person's data.",
    "migrate": "Build missing database indexes.",
    "attempts": "List and lift payment lockouts.",
    "completion": "Print a completion script for bash, zsh, or fish.",
}

#: Short name → command.
_ALIASES = {"dlq": "dead-letters"}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command runs."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. A reader that closes the pipe, such as head, is not a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Python must not write buffered output to the closed pipe again when it exits.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command by its name. The error for an unknown name suggests similar names."""
        name = args[0]
        if not name.startswith("-") and not ctx.resilient_parsing and self.get_command(ctx, name) is None:
            near = difflib.get_close_matches(name, (*_COMMANDS, *_ALIASES), n=3, cutoff=0.5)
            suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
            ctx.fail(f"No such command {name!r}.{suggestion}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _SUMMARIES.get(name, "")) for name in _COMMANDS])

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
    help="Data directory of `movieapp dev`. While `movieapp dev` runs, other commands use its servers.",
)
def main(data_dir: Path) -> None:
    """Run and operate the payment and notification services of a movie-ticket booking system.

    \b
    Start the whole system on this machine:
        movieapp dev
    """


if __name__ == "__main__":
    main()
