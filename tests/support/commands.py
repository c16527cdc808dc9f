"""Run `movieapp` through its real entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app.settings import Settings
from tests.support import command_server

MOVIEAPP = (sys.executable, "-m", "cli.main")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process that runs with `settings`."""
    changed = {name: getattr(settings, name) for name in settings.model_fields_set}
    secrets = {name: value for name, value in changed.items() if hasattr(value, "get_secret_value")}
    plain = {
        name: str(value) for name, value in changed.items() if isinstance(value, str | int | float | Path)
    }
    plain |= {name: value.get_secret_value() for name, value in secrets.items()}
    return {**os.environ, **{name.upper(): value for name, value in plain.items()}}


def movieapp(settings: Settings, *arguments: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
    """Run a command until it exits, without a terminal or an embedded stack."""
    variables = environment(settings) | {"MOVIEAPP_DATA_DIR": str(Path(os.devnull) / "none")}
    return command_server.run(arguments, variables, timeout)
