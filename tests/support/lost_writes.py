"""Writes that MongoDB carries out, but does not acknowledge."""

from __future__ import annotations

from typing import Any

import pymongo.errors
import pytest
from pymongo.collection import Collection


def lose_acknowledgment(
    monkeypatch: pytest.MonkeyPatch, method: str, field: str, collection: str = "transaction_logs"
) -> None:
    """Make MongoDB carry out the next write that mentions `field`, and lose its acknowledgment."""
    real = getattr(Collection, method)

    def write(self: Collection[Any], *args: Any, **kwargs: Any) -> Any:
        result = real(self, *args, **kwargs)
        if self.name == collection and field in repr(args):
            monkeypatch.setattr(Collection, method, real)
            raise pymongo.errors.NetworkTimeout("the acknowledgment never came")
        return result

    monkeypatch.setattr(Collection, method, write)
