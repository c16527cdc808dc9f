"""Sample events of each type, for the documents, `movieapp events sample`, and the tests."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any


def sample(name: str) -> dict[str, Any]:
    """Return the sample of an event type, or a variant such as `booking.confirmed.minimal`.

    Raises:
        FileNotFoundError: no sample has that name.
    """
    event: dict[str, Any] = json.loads(files(__name__).joinpath(f"{name}.json").read_text("utf-8"))
    return event


def sample_names() -> list[str]:
    """Return the names of all samples."""
    names = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
