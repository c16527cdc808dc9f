"""Events of each type, as services publish them: for documents, `movieapp events sample` and tests."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def sample(name: str) -> dict[str, Any]:
    """The sample of an event type or, as `booking.confirmed.minimal`, a variant of it.

    Raises:
        FileNotFoundError: there is none.
    """
    event: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return event


def sample_names() -> list[str]:
    """The names of all samples."""
    names = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
