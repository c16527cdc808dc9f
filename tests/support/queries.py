"""The queries that code sends to MongoDB, and the indexes that serve them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import monitoring

from app import models
from app.settings import Settings


class RecordedQueries(monitoring.CommandListener):
    """Records the filters of queries.

    Attributes:
        queries: collection, filter, and collation of each query.
    """

    def __init__(self) -> None:
        self.queries: list[dict[str, Any]] = []

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        match event.command:
            case {"find": collection, "filter": requested, **rest}:
                self._add(collection, requested, rest.get("collation"))
            case {"aggregate": collection, "pipeline": [{"$match": requested}, *_]}:
                self._add(collection, requested)

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None: ...

    def failed(self, event: monitoring.CommandFailedEvent) -> None: ...

    def _add(self, collection: str, requested: dict[str, Any], collation: Any = None) -> None:
        self.queries.append({"collection": collection, "filter": requested, "collation": collation})


@contextmanager
def record_queries(settings: Settings) -> Iterator[RecordedQueries]:
    """Connect to MongoDB, and record the queries of this block."""
    listener = RecordedQueries()
    listeners = monitoring._LISTENERS.command_listeners
    listeners.append(listener)
    try:
        models.disconnect()
        models.connect(settings)
        models.create_indexes()
        listener.queries.clear()
        yield listener
    finally:
        listeners.remove(listener)
        models.disconnect()


def indexes_of(query: dict[str, Any]) -> Iterator[str]:
    """Yield the index that serves each condition of a query."""
    for part in _parts(query["filter"]):
        command = {"find": query["collection"], "filter": part}
        if query["collation"]:
            command["collation"] = query["collation"]
        plan = models.database().command("explain", command, verbosity="queryPlanner")
        stage = plan["queryPlanner"]["winningPlan"]
        while "inputStage" in stage:
            stage = stage["inputStage"]
        if "indexName" in stage:
            yield stage["indexName"]


def _parts(requested: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a filter and its conditions, because SecantusDB explains only what one index covers."""
    yield requested
    for name, value in requested.items():
        yield {name: value}
        if isinstance(value, dict):
            for inner, condition in value.get("$elemMatch", {}).items():
                yield from ({f"{name}.{inner}": {word: what}} for word, what in condition.items())
