"""docs/database: generated from the models, with valid examples."""

from __future__ import annotations

from pathlib import Path

import pytest
from bson.json_util import loads

from app.models import RECORDS
from app.models.database import Record
from app.models.reference import reference

DOCS = Path(__file__).parents[2] / "docs/database"


def test_the_page_is_current() -> None:
    assert (DOCS / "README.md").read_text() == reference()


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.__name__)
def test_the_documented_examples_are_valid_documents(record: type[Record]) -> None:
    stored = loads((DOCS / f"{record._get_collection_name()}.json").read_text())
    document = record._from_son(stored)
    document.validate()
    unknown = stored.keys() - {field.db_field or name for name, field in record._fields.items()}
    assert unknown == set()
