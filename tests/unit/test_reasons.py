"""Errors of one kind have one reason, which shows nobody's address and keeps the server's reply codes."""

from __future__ import annotations

import pytest

from app.masking import mask_text
from app.operations.reasons import NO_REASON, reason_of


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (
            "550 5.1.1 <jane@example.com>: unknown",
            "550 5.1.1 <hans@beispiel.de>: unknown",
            "550 5.1.1 …: unknown",
        ),
        ("no route to jane@example.com", "no route to hans@beispiel.de", "no route to …"),
        (
            "421 4.7.0 later, id 4XyZ12345678901",
            "421 4.7.0 later, id 9abC98765432101",
            "421 4.7.0 later, id …",
        ),
        ("refused: TXN-12ab34cd", "refused: TXN-ff00", "refused: …"),
        ("no reply for 30 seconds", "no reply for 12.5 seconds", "no reply for …"),
        ("+1 415 555 0100 is no mobile", "+1 415 555 0199 is no mobile", "… is no mobile"),
    ],
)
def test_errors_of_the_same_kind_are_one_reason(one: str, other: str, reason: str) -> None:
    assert (reason_of(one), reason_of(other)) == (reason, reason)


def test_a_field_name_stays_in_its_reason() -> None:
    assert reason_of('"showtime" is missing') == '"showtime" is missing'


@pytest.mark.parametrize("error", [None, "", "  ", 7])
def test_without_an_error_there_is_no_reason(error: object) -> None:
    assert reason_of(error) == NO_REASON


@pytest.mark.parametrize("code", ["550 5.7.60", "550-5.7.26", "554 5.7.509", "421 4.7.28", "550 5.1.10"])
def test_the_codes_of_a_reply_are_no_phone_number(code: str) -> None:
    assert mask_text(f"{code} refused") == f"{code} refused"
    assert reason_of(f"{code} refused") == f"{code} refused"


@pytest.mark.parametrize("number", ["550 555 0100", "+1 415 555 0100", "550 5.7.60.12", "(415) 555-0100"])
def test_phone_numbers_are_masked(number: str) -> None:
    assert number not in mask_text(f"call {number} now")
