"""What every command shares: where the embedded stack lives, and settings that end with one clear line."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from dotenv import load_dotenv

from cli.stack_file import StackFile

if TYPE_CHECKING:
    from app.settings import Settings

data_dir_option = click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".movieapp"),
    show_default=True,
    envvar="MOVIEAPP_DATA_DIR",
    help="Where `movieapp dev` keeps its data; its running stack is found there.",
)


def expected_failures(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command: an expected failure is one line and exit code 1, not a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        from app.errors import Problem

        try:
            command(*args, **kwargs)
        except Problem as problem:
            raise click.ClickException(problem.message) from None

    return run


def settings_for(data_dir: Path) -> Settings:
    """The settings of this environment and, where it says nothing, of the stack that runs from `data_dir`.

    The stack's are put into the environment, for the processes that this one becomes or starts.

    Raises:
        click.ClickException: a setting is wrong; the message names it.
    """
    from app.settings import SettingsError, load_settings

    stack = StackFile(data_dir)
    if stack.running():
        load_dotenv(stack.path)
    try:
        return load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
