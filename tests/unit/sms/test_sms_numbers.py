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
def test_numbers(number: str, shown: str) -> None:
    assert e164(number) == shown


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("4155550123", r"needs \+ and a country's code"),
        ("jane.doe@example.com", r"needs \+ and a country's code"),
        ("", r"needs \+ and a country's code"),
        ("+999123456789", r"needs \+ and a country's code"),
        ("+1" * 200, r"needs \+ and a country's code"),
        ("+1415", "too short"),
        ("+141555501234567", "too long"),
        ("+15550123", "lacks the area code"),
    ],
)
def test_what_is_no_number_is_given_up_saying_why(number: str, why: str) -> None:
    with pytest.raises(PermanentFailure, match=f"^the phone number is not valid: .*{why}"):
        e164(number)
