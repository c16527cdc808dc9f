"""Sample events for every template, for the command line, the gallery, and the tests."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def variants(template: str) -> list[str]:
    """Return the names of a template's samples, such as `full`, `minimal`, and `hostile`."""
    names = (entry.name for entry in files("email_templates").joinpath("samples").iterdir())
    return sorted(name.split(".")[1] for name in names if name.startswith(f"{template}."))


def sample(template: str, variant: str = "full") -> dict[str, Any]:
    """Return one sample event.

    Raises:
        FileNotFoundError: no sample has that name.
    """
    file = files("email_templates").joinpath("samples", f"{template}.{variant}.json")
    event: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return event
