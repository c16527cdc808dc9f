"""Generate docs/database/README.md from the models.

python -m app.models.reference > docs/database/README.md
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

from mongoengine import EmbeddedDocument, EmbeddedDocumentListField, ListField

from app import models
from app.models.database import Record

_HEADER = """\
# What is stored

One MongoDB database (`MONGODB_URI` names it). A new collection gets its indexes at first use; `movieapp
migrate`, or a worker at its start, builds those that an upgrade adds. Money is `Decimal128` in major units;
times are UTC. Writes wait for a majority of the replica set, and reads go to the primary. No card number and
no security code is ever stored: a brand and four digits are.

Each file beside this one is an example document. Made by `python -m app.models.reference`.
"""

#: A `#: …` comment above a field.
_COMMENTED = re.compile(r"((?:^    #:.*\n)+)    (\w+) = ", re.MULTILINE)


def reference() -> str:
    """Return the whole page."""
    return "\n".join([_HEADER, *(block for record in models.RECORDS for block in _collection(record))])


def _collection(record: type[Record]) -> Iterator[str]:
    name = record._get_collection_name()
    yield f"## {name}\n\n{inspect.getdoc(record)}\n"
    yield f"[An example]({name}.json)\n"
    yield from _fields(record)
    parts = [
        field.field.document_type
        for field in record._fields.values()
        if isinstance(field, EmbeddedDocumentListField)
    ]
    for part in parts:
        yield f"### {name}: {part.__name__}\n\n{inspect.getdoc(part)}\n"
        yield from _fields(part)
    yield "Indexes:\n"
    yield "".join(_index(spec) for spec in record._meta["index_specs"]) or "- none but `_id`\n"


def _fields(record: type[Record] | type[EmbeddedDocument]) -> Iterator[str]:
    comments = dict(_comments(record))
    rows = ["| field | type | |\n|---|---|---|\n"]
    for name, field in record._fields.items():
        required = "" if field.required or field.primary_key else ", optional"
        stored = field.db_field or name
        rows.append(f"| `{stored}` | {_type(field)}{required} | {comments.get(name, '')} |\n")
    yield "".join(rows)


def _comments(record: type) -> Iterator[tuple[str, str]]:
    for comment, field in _COMMENTED.findall(inspect.getsource(record)):
        yield (
            field,
            " ".join(line.strip().removeprefix("#:").strip() for line in comment.strip().splitlines()),
        )


def _type(field: Any) -> str:
    if isinstance(field, EmbeddedDocumentListField):
        return f"list of {field.field.document_type.__name__}"
    if isinstance(field, ListField):
        return "list"
    return str(type(field).__name__).removesuffix("Field")


def _index(spec: dict[str, Any]) -> str:
    fields = ", ".join(f"{name}{' descending' if order < 0 else ''}" for name, order in spec["fields"])
    kinds = [kind for kind in ("unique", "sparse") if spec.get(kind)]
    if "collation" in spec:
        kinds.append("ignores case")
    if only := spec.get("partialFilterExpression"):
        kinds.append(f"only documents with {', '.join(only)}")
    if (seconds := spec.get("expireAfterSeconds")) is not None:
        kinds.append(f"forgotten after {seconds // 3600} hours" if seconds else "forgotten at that time")
    return f"- {fields}{': ' if kinds else ''}{', '.join(kinds)}\n"


if __name__ == "__main__":
    print(reference(), end="")  # noqa: T201
