"""Operations watched: how long each takes, and which index serves each filter that it sends to MongoDB."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo import monitoring

from app import models

#: The stage of a plan that looks at every document.
SCAN = "COLLSCAN"


@dataclass(frozen=True)
class Query:
    """What an operation asks MongoDB for; `shape` is the filter without its values."""

    operation: str
    collection: str
    shape: str


class Watch(monitoring.CommandListener):
    """Watches one thread. To be registered before MongoDB's client is made."""

    def __init__(self) -> None:
        self._times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self._filters: dict[Query, dict[str, Any]] = {}
        self._operation = ""

    @contextmanager
    def operation(self, name: str, size: int) -> Iterator[None]:
        """Watch what is done meanwhile, with so much stored."""
        outer, self._operation = self._operation, name
        started = time.perf_counter()
        yield
        self._times[name, size].append((time.perf_counter() - started) * 1000)
        self._operation = outer

    def medians(self) -> dict[str, dict[int, float]]:
        """Operation → size → milliseconds."""
        found: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for (name, size), times in self._times.items():
            found[name][size] = statistics.median(times)
        return found

    def plans(self) -> dict[Query, str]:
        """Query → the index that serves it, or `SCAN`."""
        return {query: _plan(query.collection, requested) for query, requested in self._filters.items()}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """PyMongo sends a command."""
        match event.command:
            case {"find": collection, "filter": requested}:
                self._keep(collection, requested)
            case {"update": collection, "updates": updates}:
                for update in updates:
                    self._keep(collection, update["q"])

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing to note: the caller gets an exception."""

    def _keep(self, collection: str, requested: dict[str, Any]) -> None:
        if self._operation:
            shape = ", ".join(" ".join([name, *_operators(value)]) for name, value in requested.items())
            self._filters[Query(self._operation, collection, shape)] = requested


def _operators(value: Any) -> list[str]:
    return [name for name in value if name.startswith("$")] if isinstance(value, dict) else []


def _plan(collection: str, requested: dict[str, Any]) -> str:
    """The index that finds what a filter asks for.

    An index for one of its fields is enough: the others are looked at in what that finds. SecantusDB does so,
    in the filter's order, but explains only what an index covers whole.
    """
    for part in (requested, *({name: value} for name, value in requested.items())):
        command = {"find": collection, "filter": part}
        stage = models.database().command("explain", command, verbosity="queryPlanner")
        stage = stage["queryPlanner"]["winningPlan"]
        while "inputStage" in stage:
            stage = stage["inputStage"]
        if stage["stage"] != SCAN:
            return str(stage.get("indexName", stage["stage"]))
    return SCAN
