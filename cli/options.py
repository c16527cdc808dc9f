"""Shared by commands: settings, argument types, and one-line messages for expected failures."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.clock import utcnow
from cli.output import zone
from cli.stack_file import StackFile

if TYPE_CHECKING:
    from app.errors import Problem
    from app.operations.audit import Operator
    from app.settings import Settings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

#: Key of the running command's settings, for its messages.
_LOADED = "movieapp.settings"

DATA_DIR_TYPE = click.Path(file_okay=False, path_type=Path)


def _complete_template(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    # Without loading the renderer, because completion must be fast.
    from importlib.resources import files

    texts = {
        file.name.removesuffix(".txt") for file in files("email_templates").iterdir() if ".txt" in file.name
    }
    return sorted(name for name in texts - {"layout", "macros"} if name.startswith(typed))


template_argument = click.argument("template", shell_complete=_complete_template)


def moment(value: str) -> datetime:
    """Return the type of an option: a time in ISO 8601, UTC without a zone, or how long ago: 90s, 15m, 2h,
    7d."""
    try:
        if age := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return utcnow() - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        expected = "an age, such as 2h, or a time, such as 2026-12-01T10:30:00Z"
        raise click.BadParameter(f"must be {expected}, got {value!r}.") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def since_option(which: str, default: str | None = None) -> Callable[[Any], Any]:
    """Return the decorator that adds `--since`.

    Args:
        which: the records that it selects: "payments created".
        default: its value if the option is not given.
    """
    return click.option(
        "--since",
        type=moment,
        metavar="AGE|TIME",
        default=default,
        show_default=default is not None,
        help=f"Only {which} at most AGE (such as 2h or 7d) ago, or since TIME (ISO 8601).",
    )


#: `--yes`, for `confirm`.
yes_option = click.option("--yes", is_flag=True, help="Do not ask for confirmation.")


def expected_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: print an expected failure in one line with exit code 1, without a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from app.errors import Problem

        try:
            command(*args, **kwargs)
        except Problem as problem:
            raise click.ClickException(_no_stack(problem) or problem.message) from None
        except Exception as error:
            from app.errors import unavailable
            from app.models import OUTAGES

            if not isinstance(error, OUTAGES):
                raise
            message = no_stack("mongodb_uri") or unavailable("MongoDB", error).message
            raise click.ClickException(message) from None

    return run


def _no_stack(problem: Problem) -> str | None:
    from app.errors import ServiceUnavailable, Unacknowledged

    # MongoDB received an unacknowledged write, so a stack is running somewhere.
    unreachable = isinstance(problem, ServiceUnavailable) and not isinstance(problem, Unacknowledged)
    return no_stack("mongodb_uri") if unreachable else None


def no_stack(setting: str) -> str | None:
    """Return advice for an unavailable server whose setting is missing.

    Args:
        setting: name of the server's setting, in lower case.

    Returns:
        The advice; None if a stack runs, or the setting is set.
    """
    context = click.get_current_context(silent=True)
    settings = context.find_root().meta.get(_LOADED) if context else None
    if settings is None or setting in settings.model_fields_set:
        return None
    where = data_dir()
    shown = where if where.is_absolute() else f"./{where}"
    return f"No stack is running in {shown}. Start one with `movieapp dev`, or set {setting.upper()}."


def settings_for(data_dir: Path) -> Settings:
    """Return the settings of the environment, completed by those of the stack that runs from `data_dir`.

    The stack's settings are added to the environment, for child processes.

    Raises:
        click.ClickException: a setting is invalid; the message names it.
    """
    from dotenv import load_dotenv

    from app.settings import SettingsError, load_settings

    stack = StackFile(data_dir)
    if stack.running():
        load_dotenv(stack.path)
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    if context := click.get_current_context(silent=True):
        context.find_root().meta[_LOADED] = settings
    return settings


def data_dir() -> Path:
    """Return the running command's data directory, from `movieapp --data-dir`."""
    path: Path = click.get_current_context().find_root().params["data_dir"]
    return path


def command_settings() -> Settings:
    """Return the settings of the running command: `settings_for` its data directory.

    Raises:
        click.ClickException: a setting is invalid; the message names it.
    """
    return settings_for(data_dir())


def refuse_unsupported_servers(settings: Settings, *, queues: bool = False) -> None:
    """Refuse to start with servers of a kind that breaks a promise.

    Args:
        queues: also look at the queues.

    Raises:
        click.ClickException: says which, why, and what to use instead.
    """
    from app.operations.server_kinds import refusals

    if found := refusals(settings, queues=queues):
        raise click.ClickException("\n".join(found))


def confirm(question: str, yes: bool) -> None:
    """Ask for confirmation, unless `yes` gives it.

    Raises:
        click.UsageError: stdin is not a terminal. click.Abort: the answer is no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("stdin is not a terminal: pass --yes.")
    click.confirm(question, abort=True, err=True)


def operator() -> Operator:
    """Return who runs the command, for the audit log."""
    from app.operations.audit import Operator

    return Operator.at_command_line()


def connect() -> Settings:
    """Connect the running command to MongoDB and log its warnings to stderr; return its settings.

    Raises:
        click.ClickException: a setting is invalid; the message names it.
    """
    from app import models
    from app.telemetry import logs

    settings = command_settings()
    logs.configure("movieapp-cli", "WARNING")
    models.connect(settings)
    if zone.get() is None:
        zone.set(settings.operators_zone)
    return settings
