"""The published schemas match the validation in code."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies
from jsonschema import Draft202012Validator

from app.events.catalog import CATALOG, check_event
from app.events.decode import InvalidEvent
from app.events.documents import asyncapi, documents, json_schema
from app.events.samples import sample, sample_names

DOCS = Path(__file__).parents[2] / "docs" / "events"
VALIDATORS = {event_type: Draft202012Validator(json_schema(event_type)) for event_type in CATALOG}


def taken(event: dict[str, Any]) -> bool:
    try:
        check_event(event)
    except InvalidEvent:
        return False
    return True


def described(event: dict[str, Any]) -> bool:
    valid: bool = VALIDATORS[event["event_type"]].is_valid(event)
    return valid


def test_the_committed_files_are_up_to_date() -> None:
    assert {path.name: path.read_text() for path in DOCS.glob("*.json")} == documents()


@pytest.mark.parametrize("event_type", CATALOG)
def test_every_schema_is_valid(event_type: str) -> None:
    Draft202012Validator.check_schema(json_schema(event_type))


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_is_valid(name: str) -> None:
    assert described(sample(name))


VALUES: tuple[Any, ...] = (
    None,
    "",
    "x",
    "x" * 201,
    "x" * 256,
    "x" * 501,
    "x" * 2049,
    0,
    -1,
    1,
    1.0,
    1.5,
    104,
    10_081,
    1e13,
    True,
    "true",
    "maybe",
    "25.50",
    "1e3",
    " 5",
    "-1",
    "USD",
    "1.0",
    2,
    "2",
    "later",
    [],
    ["A1"],
    [None],
    [1],
    ["x" * 501],
    ["A1"] * 201,
    {},
    [{"showtime": "8 PM", "cinema_name": None}],
    [{"cinema_name": "Roxy"}],
)


@pytest.mark.parametrize("event_type", CATALOG)
def test_schema_and_validator_agree_on_every_field_value(event_type: str) -> None:
    for field in CATALOG[event_type].schema.fields.keys() - {"event_type"}:
        for value in VALUES:
            event = sample(event_type) | {field: value}
            assert taken(event) == described(event), f"{field}={value!r:.60}"
        without = sample(event_type)
        without.pop(field, None)
        assert taken(without) == described(without), field


anything = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.text(max_size=20),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(strategies.data())
def test_schema_and_validator_agree_on_generated_events(data: Any) -> None:
    event = copy.deepcopy(sample(data.draw(strategies.sampled_from(list(CATALOG)))))
    fields = sorted(CATALOG[event["event_type"]].schema.fields.keys() - {"event_type"})
    for field in data.draw(strategies.lists(strategies.sampled_from(fields), min_size=1, max_size=3)):
        event[field] = data.draw(anything)
    assert taken(event) == described(event)


def references(document: Any) -> list[str]:
    if isinstance(document, dict):
        own = [document["$ref"]] if "$ref" in document else []
        return own + [ref for value in document.values() for ref in references(value)]
    if isinstance(document, list):
        return [ref for value in document for ref in references(value)]
    return []


def test_asyncapi_references_exist() -> None:
    """Its structure was validated with the AsyncAPI initiative's own JSON Schema when it was written."""
    document = asyncapi()
    found = references(document)
    assert len(found) == 3 * len(CATALOG) + 5, "a message, a payload and an operation each; five are sent"
    for reference in found:
        if reference.startswith("./"):
            json.loads((DOCS / reference).read_text())
            continue
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target
    assert set(document["channels"]) == set(CATALOG)
