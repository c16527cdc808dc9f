"""Shared by commands: settings, argument types, and one-line messages for expected failures."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import wraps
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from dotenv import load_dotenv

from app.clock import utcnow
from cli.stack_file import StackFile

if TYPE_CHECKING:
    from app.settings import Settings

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

DATA_DIR_TYPE = click.Path(file_okay=False, path_type=Path)


def _complete_template(_context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    # Without what renders them: nobody waits for a completion.
    texts = {
        file.name.removesuffix(".txt") for file in files("email_templates").iterdir() if ".txt" in file.name
    }
    return sorted(name for name in texts - {"layout", "macros"} if name.startswith(typed))


template_argument = click.argument("template", shell_complete=_complete_template)


def moment(value: str) -> datetime:
    """The type of an option: a time in ISO 8601, UTC without a zone, or how long ago: 90s, 15m, 2h, 7d."""
    try:
        if age := re.fullmatch(r"(\d{1,6})([smhd])", value):
            return utcnow() - timedelta(**{_UNITS[age[2]]: int(age[1])})
        time = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        wanted = "an age like 2h nor a time like 2026-12-01T10:30:00Z"
        raise click.BadParameter(f"{value!r} is neither {wanted}") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def expected_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an expected failure is one line and exit code 1, not a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from app.errors import Problem

        try:
            command(*args, **kwargs)
        except Problem as problem:
            raise click.ClickException(problem.message) from None
        except Exception as error:
            from app.models import OUTAGES

            if not isinstance(error, OUTAGES):
                raise
            raise click.ClickException(f"MongoDB does not answer ({type(error).__name__}).") from None

    return run


def settings_for(data_dir: Path) -> Settings:
    """Return the settings of the environment, completed by those of the stack that runs from `data_dir`.

    The stack's settings are added to the environment for the processes that this one becomes or starts.

    Raises:
        click.ClickException: a setting is invalid; the message names it.
    """
    from app.settings import SettingsError, load_settings

    stack = StackFile(data_dir)
    if stack.running():
        load_dotenv(stack.path)
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None


def data_dir() -> Path:
    """Return the data directory that `movieapp --data-dir` names for the running command."""
    path: Path = click.get_current_context().find_root().params["data_dir"]
    return path


def command_settings() -> Settings:
    """Return the settings of the running command: `settings_for` its data directory.

    Raises:
        click.ClickException: a setting is invalid; the message names it.
    """
    return settings_for(data_dir())


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
    return settings
