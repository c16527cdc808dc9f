"""`movieapp migrate`: indexes that an upgrade adds, and obsolete ones."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from app import models
from app.errors import ServiceUnavailable
from app.models import Transaction, database
from app.operations.health import PROBES, run_probe
from tests.support.commands import movieapp

if TYPE_CHECKING:
    from app.settings import Settings

OBSOLETE = "error_code_1_created_at_-1__id_-1"


@pytest.fixture
def upgraded(stored_settings: Settings) -> Settings:
    """A database with a payment and one index of an earlier version."""
    models.connect(stored_settings)
    collection = database()["transaction_logs"]
    collection.insert_one({"_id": "TXN-1"})
    collection.create_index([("error_code", 1), ("created_at", -1), ("_id", -1)], name=OBSOLETE, sparse=True)
    return stored_settings


def index_names() -> set[str]:
    return set(database()["transaction_logs"].index_information())


def test_indexes_are_added_to_a_collection_with_documents(upgraded: Settings) -> None:
    with pytest.raises(ServiceUnavailable, match="movieapp migrate"):
        Transaction.objects.count()
    models.create_indexes()
    assert models.missing_indexes() == []
    assert Transaction.objects.count() == 1


def test_obsolete_indexes_are_dropped_only_on_demand(upgraded: Settings) -> None:
    foreign = database()["transaction_logs"].create_index([("metadata.cinema", 1)])
    done = movieapp(upgraded, "migrate", "--json")
    assert json.loads(done.stdout)["obsolete"] == [f"transaction_logs.{OBSOLETE}"]
    [finding] = run_probe("indexes", PROBES["indexes"], upgraded)
    assert finding.what == f"obsolete: transaction_logs.{OBSOLETE}"
    assert OBSOLETE in index_names()
    done = movieapp(upgraded, "migrate", "--drop-obsolete", "--json")
    assert json.loads(done.stdout) == {"created": [], "dropped": [f"transaction_logs.{OBSOLETE}"]}
    assert OBSOLETE not in index_names()
    assert foreign in index_names(), "an operator's own index stays"
    [finding] = run_probe("indexes", PROBES["indexes"], upgraded)
    assert finding.level == "ok"


def test_no_index_is_dropped_while_another_is_missing(upgraded: Settings) -> None:
    with pytest.raises(ServiceUnavailable, match="movieapp migrate"):
        models.drop_obsolete_indexes()
    assert OBSOLETE in index_names()


def test_a_non_unique_index_does_not_replace_the_unique_one(upgraded: Settings) -> None:
    database()["transaction_logs"].create_index("open_booking", sparse=True, name="not_unique")
    assert "transaction_logs(open_booking)" in models.missing_indexes()


def test_an_index_with_another_collation_does_not_replace_the_declared_one(upgraded: Settings) -> None:
    models.create_indexes()
    database()["transaction_logs"].drop_index("contact.user_email_1")
    assert models.missing_indexes() == ["transaction_logs(contact.user_email) ignoring case"]
