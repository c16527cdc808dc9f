"""Record how long operations take, and which index serves each filter that they send to MongoDB."""

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

#: The plan stage that scans every document.
SCAN = "COLLSCAN"


@dataclass(frozen=True)
class Query:
    """A query that an operation sends to MongoDB. `shape` is the filter without its values."""

    operation: str
    collection: str
    shape: str


class Watch(monitoring.CommandListener):
    """Watches one thread. Register it before creating MongoDB's client."""

    def __init__(self) -> None:
        self._times: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
        self._filters: dict[Query, dict[str, Any]] = {}
        self._operation = ""

    @contextmanager
    def operation(self, name: str, size: int) -> Iterator[None]:
        """Record the operation in this block, at `size` stored documents."""
        outer, self._operation = self._operation, name
        started = time.perf_counter()
        yield
        self._times[name, size].append((time.perf_counter() - started) * 1000)
        self._operation = outer

    def medians(self) -> dict[str, dict[int, float]]:
        """Return operation → size → milliseconds."""
        found: defaultdict[str, dict[int, float]] = defaultdict(dict)
        for (name, size), times in self._times.items():
            found[name][size] = statistics.median(times)
        return found

    def plans(self) -> dict[Query, str]:
        """Return query → the index that serves it, or `SCAN`."""
        return {query: _plan(query.collection, requested) for query, requested in self._filters.items()}

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Record a command that PyMongo sends."""
        match event.command:
            case {"find": collection, "filter": requested}:
                self._keep(collection, requested)
            case {"update": collection, "updates": updates}:
                for update in updates:
                    self._keep(collection, update["q"])

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Do nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Do nothing: the caller gets an exception."""

    def _keep(self, collection: str, requested: dict[str, Any]) -> None:
        if self._operation:
            shape = ", ".join(" ".join([name, *_operators(value)]) for name, value in requested.items())
            self._filters[Query(self._operation, collection, shape)] = requested


def _operators(value: Any) -> list[str]:
    return [name for name in value if name.startswith("$")] if isinstance(value, dict) else []


def _plan(collection: str, requested: dict[str, Any]) -> str:
    """Return the index that serves a filter.

    An index for one of its fields is enough: the database checks the others in the documents that it finds.
    SecantusDB does so in the filter's order, but explains only indexes that cover the whole filter.
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
