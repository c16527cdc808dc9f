"""What remains of records after personal data is erased."""

from __future__ import annotations

from typing import Any

import pytest

from app.events.catalog import CATALOG
from app.events.samples import sample
from app.models import RECORDS
from app.operations.privacy import HELD
from app.privacy.erasures import Erasures, Person
from app.privacy.redaction import redacted, redacted_reply

PERSONAL = ("user_email", "user_phone", "user_name", "tickets", "ticket_url", "metadata")


@pytest.mark.parametrize("event_type", sorted(CATALOG))
def test_a_redacted_event_keeps_ids_amounts_and_the_show(event_type: str) -> None:
    event: dict[str, Any] = sample(event_type) | {"unknown_field": "Jane", "user_name": "Jane"}
    left = redacted(event)
    assert not left.keys() & {*PERSONAL, "unknown_field"}
    assert left["event_id"] == event["event_id"]
    assert redacted(left) == left


@pytest.mark.parametrize(
    ("reply", "left"),
    [
        ("550 5.1.1 <jane@example.com>: user unknown", "550 5.1.1 (erased)"),
        ("450 greylisted jane@example.com", "450 (erased)"),
        ("jane@example.com can't be parsed", "erased"),
        (None, None),
        ("", ""),
    ],
)
def test_a_redacted_reply_keeps_its_codes(reply: str | None, left: str | None) -> None:
    assert redacted_reply(reply) == left


def test_erasure_covers_every_collection() -> None:
    assert set(HELD) == {record._get_collection_name() for record in RECORDS}


def test_a_person_is_recognized_in_every_spelling() -> None:
    erasures = Erasures(b"key")
    one = Person(("user_1",), ("Jane.Doe@Example.com",), ("+1 415 555 0100",))
    other = Person(("user_1",), ("jane.doe@EXAMPLE.com",), ("+14155550100",))
    assert erasures.ids(one) == erasures.ids(other)
    assert Erasures(b"another").ids(one) != erasures.ids(one)
    assert one.is_in({"user_email": "JANE.DOE@example.com"})
    assert not one.is_in({"user_email": "john@example.com", "user_id": 7})
    assert not any("jane" in name or "415" in name or "user_1" in name for name in erasures.ids(one))
