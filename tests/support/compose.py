"""docker-compose.yml for tests: a service's commands and environment, adapted to this machine."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]

#: https://docs.docker.com/reference/compose-file/interpolation/, limited to the syntax that the file uses.
_VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?:(?P<kind>:[-?])(?P<rest>[^}]*))?\}")


def read_compose() -> dict[str, Any]:
    """Return the parsed file."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return found


@dataclass(frozen=True)
class Native:
    """A service without its container.

    Attributes:
        service: from the file.
        variables: values that Compose interpolates, as from `.env`.
        places: addresses, paths, and programs of the containers → those of this machine.
    """

    service: dict[str, Any]
    variables: Mapping[str, str]
    places: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """Return the file's variables. One without a value is passed on."""
        return {
            name: self.variables.get(name, "") if value is None else self._here(value)
            for name, value in self.service["environment"].items()
        }

    @property
    def command(self) -> list[str]:
        """The argument vector."""
        return [self._here(word) for word in shlex.split(self.service["command"])]

    @property
    def health_check(self) -> list[str]:
        """The argument vector."""
        kind, *words = self.service["healthcheck"]["test"]
        shell = {"CMD": [], "CMD-SHELL": ["/bin/sh", "-c"]}[kind]
        return [*shell, *(self._here(word) for word in words)]

    @property
    def grace(self) -> int:
        """Seconds between SIGTERM and SIGKILL."""
        return int(self.service["stop_grace_period"].removesuffix("s"))

    def _here(self, text: str) -> str:
        filled = _VARIABLE.sub(self._value, text)
        for place, here in self.places.items():
            filled = filled.replace(place, here)
        return filled

    def _value(self, variable: re.Match[str]) -> str:
        value = self.variables.get(variable["name"], "")
        if not value and variable["kind"] == ":?":
            raise ValueError(f"{variable['name']}: {variable['rest']}")
        return value or (variable["rest"] if variable["kind"] == ":-" else "")
