"""JSON Schema and AsyncAPI documents of the events, generated from the schemas that validate them.

python -m app.events.documents docs/events
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marshmallow import Schema, fields, validate

from app.events.catalog import CATALOG
from app.events.decode import MAX_NUMBER, MIN_NUMBER, NAME_PATTERN
from app.events.fields import (
    AMOUNT_PATTERN,
    MAX_AMOUNT,
    VERSIONS,
    Choice,
    Email,
    Matches,
    Minutes,
    Money,
    Version,
)
from app.events.samples import sample
from app.messaging.queues import EVENT_QUEUES
from app.settings import Settings

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

Json = dict[str, Any]

#: Whether an event has a template → what the worker does with it.
_NOTIFIES = {
    True: "The worker notifies the customer by email and SMS.",
    False: "The worker sends no message.",
}


def _string(field: fields.Field[Any]) -> Json:
    schema: Json = {"type": "string"}
    for check in field.validators:
        if isinstance(check, validate.Length):
            schema |= {"minLength": check.min, "maxLength": check.max}
        elif isinstance(check, Matches):
            schema["pattern"] = check.pattern
    return {name: rule for name, rule in schema.items() if rule}


def _list(field: fields.Field[Any]) -> Json:
    assert isinstance(field, fields.List)  # noqa: S101 - for the type checker
    (length,) = (check for check in field.validators if isinstance(check, validate.Length))
    # A null in a list is removed before validation.
    return {"type": "array", "items": _or_null(_value(field.inner)), "maxItems": length.max}


def _nested(field: fields.Field[Any]) -> Json:
    assert isinstance(field, fields.Nested)  # noqa: S101 - for the type checker
    return _object(field.schema)


def _boolean(field: fields.Field[Any]) -> Json:
    assert isinstance(field, fields.Boolean)  # noqa: S101 - for the type checker
    words = sorted({word for word in field.truthy | field.falsy if isinstance(word, str)})
    return {"enum": [True, False, 1, 0, *words]}


#: A number or a string: each keyword applies only to values of its own type.
_MONEY: Json = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": MAX_AMOUNT,
    "pattern": AMOUNT_PATTERN,
}

_EMAIL: Json = {
    "type": "string",
    "maxLength": Email.MAX_LENGTH,
    "anyOf": [{"maxLength": 0}, {"pattern": Email.PATTERN, "format": "idn-email"}],
}

#: Kind of field → its JSON Schema; the first match applies.
_KINDS: list[tuple[type[fields.Field[Any]], Callable[[Any], Json]]] = [
    (Money, lambda _: dict(_MONEY)),
    (Minutes, lambda _: {"type": "integer", "minimum": 0, "maximum": Minutes.LONGEST}),
    (Choice, lambda field: {"enum": list(field.choices)}),
    (Version, lambda _: {"enum": list(VERSIONS)}),
    (Email, lambda _: dict(_EMAIL)),
    (fields.Boolean, _boolean),
    (fields.Nested, _nested),
    (fields.List, _list),
    (fields.String, _string),
]

#: Constraints on every value, even of an unknown field: see `app.events.decode`.
_ANY_VALUE: Json = {
    "minimum": MIN_NUMBER,
    "maximum": MAX_NUMBER,
    "items": {"$ref": "#/$defs/value"},
    "propertyNames": {"pattern": NAME_PATTERN},
    "additionalProperties": {"$ref": "#/$defs/value"},
}


def _value(field: fields.Field[Any]) -> Json:
    return next(make for kind, make in _KINDS if isinstance(field, kind))(field)


def _or_null(schema: Json) -> Json:
    if "enum" in schema:
        return schema | {"enum": [*schema["enum"], None]}
    types = schema["type"]
    return schema | {"type": [*([types] if isinstance(types, str) else types), "null"]}


def _object(schema: Schema) -> Json:
    properties = {}
    for name, field in schema.fields.items():
        properties[name] = _value(field) if field.required else _or_null(_value(field))
    required = [name for name, field in schema.fields.items() if field.required]
    return {
        "type": "object",
        "properties": properties,
        "required": required,
        "propertyNames": {"pattern": NAME_PATTERN},
        "additionalProperties": {"$ref": "#/$defs/value"},
    }


def json_schema(event_type: str) -> Json:
    """Return the JSON Schema of one event type. Optional fields may be null.

    It accepts what the worker accepts, except for rules that JSON Schema can't express: a body's size, depth,
    encoding, and repeated fields; and domains outside ASCII, which need a validator that asserts `format`.
    """
    body = _object(CATALOG[event_type].schema)
    body["properties"]["event_type"] = {"const": event_type}
    return {
        "$schema": _DRAFT,
        "title": event_type,
        **body,
        "$defs": {"value": _ANY_VALUE},
        "examples": [sample(event_type)],
    }


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document (https://www.asyncapi.com/docs/reference/specification)."""
    exchange = Settings.model_fields["rabbitmq_exchange"].default
    messages = {
        event_type: {
            "name": event_type,
            "contentType": "application/json",
            "payload": {
                "schemaFormat": "application/schema+json;version=draft-2020-12",
                "schema": {"$ref": f"./{event_type}.schema.json"},
            },
            "bindings": {"amqp": {"contentEncoding": "utf-8", "messageType": event_type}},
        }
        for event_type in CATALOG
    }
    channels = {}
    operations = {}
    for event_type, row in CATALOG.items():
        family = event_type.partition(".")[0]
        channels[event_type] = {
            "address": event_type,
            "messages": {event_type: {"$ref": f"#/components/messages/{event_type}"}},
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {"name": exchange, "type": "topic", "durable": True},
                }
            },
        }
        operations[f"notify.{event_type}"] = {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{event_type}"},
            "summary": f"Received from {EVENT_QUEUES[family]}. {_NOTIFIES[row.template is not None]}",
        }
        if family == "payment":
            operations[f"publish.{event_type}"] = {
                "action": "send",
                "channel": {"$ref": f"#/channels/{event_type}"},
                "summary": "Published as a persistent message, with a publisher confirm, after the payment "
                "has changed.",
                "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True}},
            }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "movieapp events",
            "version": "1.0.0",
            "description": "Plain JSON on a durable topic exchange. The routing key is the event's type.",
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def documents() -> dict[str, str]:
    """Return all documents: file name → content."""
    documents = {f"{event_type}.schema.json": json_schema(event_type) for event_type in CATALOG}
    documents["asyncapi.json"] = asyncapi()
    return {name: json.dumps(document, indent=2) + "\n" for name, document in documents.items()}


if __name__ == "__main__":
    for name, text in documents().items():
        (Path(sys.argv[1]) / name).write_text(text, "utf-8")
