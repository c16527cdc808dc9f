import pytest

from actors.channels.sms.numbers import e164
from actors.errors import PermanentFailure


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        ("+14155550123", "+14155550123"),
        (" +1 (415) 555-0123 ", "+14155550123"),
        ("+44 20 7946 0958", "+442079460958"),
        ("+4915112345678", "+4915112345678"),
    ],
)
def test_numbers_are_normalized_to_e164(number: str, shown: str) -> None:
    assert e164(number) == shown


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("4155550123", r"must be an international number, such as \+1"),
        ("jane.doe@example.com", r"must be an international number, such as \+1"),
        ("", r"must be an international number, such as \+1"),
        ("+999123456789", r"must be an international number, such as \+1"),
        ("+1" * 200, r"must be an international number, such as \+1"),
        ("+1415", "too short"),
        ("+141555501234567", "too long"),
        ("+15550123", "lacks the area code"),
    ],
)
def test_an_invalid_number_fails_with_its_reason(number: str, why: str) -> None:
    with pytest.raises(PermanentFailure, match=f"^the phone number is not valid: .*{why}"):
        e164(number)
