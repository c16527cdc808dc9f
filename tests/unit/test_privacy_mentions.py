"""Find a person in a message that is not a readable event."""

from __future__ import annotations

import json

import pytest

from app.messaging.wire import MAX_MESSAGE_BYTES
from app.privacy.erasures import Person
from app.privacy.mentions import Mentions, Unsearchable

JANE = Person(("user_jane", "5"), ("Jane.Doe@Example.com", "jane@straße.example"), ("+14155550100",))


@pytest.mark.parametrize(
    "text",
    [
        "jane.doe@example.com",
        '{"user_email": "JANE.DOE@EXAMPLE.COM"',
        r'{"user_email": "jane.doe\u0040example.com"}',
        r'{"user_email": "j\u0061ne.doe@example.com", "user_email": ""}',
        json.dumps({"body": json.dumps({"to": "jane.doe@example.com"}).replace("@", r"\u0040")}),
        r'{"note": "Hello,\njane.doe@example.com."}',
        '{"user_email": "jane@xn--strae-oqa.example"}',
        '{"user_email": "jane@straße.example"}',
        r'{"user_email": "jane@stra\u00dfe.example"}',
        '{"user_phone": 14155550100}',
        '{"user_phone": "+1 (415) 555-0100"}',
        '{"user_phone": "0014155550100"}',
        '{"customer": "user_jane"}',
        "<user_id>5</user_id>",
        "userId=5&seats=2",
        '{"user": {"id": 5}}',
        "[" * 100_000 + '"jane.doe@example.com"',
        '{"amount": ' + "9" * 5_000 + ', "user_id": "user_jane"}',
    ],
    ids=lambda text: text[:60],
)
def test_a_person_is_found_in_any_notation(text: str) -> None:
    assert Mentions(JANE).are_in(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"user_email": "mary.jane.doe@example.com"}',
        '{"user_email": "jane.doe@example.com.au"}',
        '{"user_email": "jane.doe@example.community"}',
        '{"user_phone": "+141555501001"}',
        '{"user_id": "user_jane2", "booking_id": "BOOK-5"}',
        '{"user_id": "user_jane-2", "seats": 5, "screen": "5"}',
        r'{"user_id": "the\user_janet"}',
        "",
    ],
)
def test_another_person_is_not_found(text: str) -> None:
    assert not Mentions(JANE).are_in(text.encode())


def test_an_identifier_without_content_is_found_nowhere() -> None:
    person = Person(("",), ("", "@", "jane"), ("", "+", "12", "phone"))
    assert not Mentions(person).are_in(b'{"user_id": "", "user_email": "@", "user_phone": "12"} jane phone')


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32-le", "latin-1"])
def test_every_encoding_of_json_is_searched(encoding: str) -> None:
    text = '{"user_name": "Jané", "user_email": "%s"}'
    assert Mentions(JANE).are_in((text % "jane.doe@example.com").encode(encoding))
    assert not Mentions(JANE).are_in((text % "john@example.com").encode(encoding))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"\x1f\x8b\x08\x00compressed", "not text"),
        (b"x" * MAX_MESSAGE_BYTES + b" jane.doe@example.com", "more than 2097152 bytes"),
    ],
    ids=["compressed", "too large"],
)
def test_a_body_that_cant_be_searched_is_reported(body: bytes, reason: str) -> None:
    with pytest.raises(Unsearchable, match=reason):
        Mentions(JANE).are_in(body)
