"""The detector of card numbers: every notation is found, and few other numbers are mistaken for one."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable

import pytest

from app.card_numbers import holds_card_number, mask_card_numbers
from tests.support.cards import CARD, NOTATIONS

#: Test numbers that the networks and Stripe publish: https://docs.stripe.com/testing
NUMBERS = [
    "4242424242424242",
    "4111111111111111",
    "4000056655665556",
    "4222222222222",
    "4000000000000000006",
    "5555555555554444",
    "2223003122003222",
    "378282246310005",
    "371449635398431",
    "6011111111111117",
    "6011000990139424",
    "3056930009020004",
    "30569309025904",
    "38520000023237",
    "36227206271667",
    "3566002020360505",
    "3530111333300000",
    "6200000000000005",
    "6205500000000000004",
    "6555900000604105",
    "6759649826438453",
    "2200000000000004",
]  # fmt: skip


@pytest.mark.parametrize("text", NOTATIONS)
def test_a_card_number_is_found_in_every_notation(text: str) -> None:
    assert holds_card_number(text)
    masked = mask_card_numbers(text)
    assert "[card number]" in masked
    assert not holds_card_number(masked)


@pytest.mark.parametrize("number", NUMBERS)
def test_every_network_is_known(number: str) -> None:
    assert holds_card_number(number)
    assert holds_card_number(f"row 7, {' '.join(number)}")
    assert mask_card_numbers(f"is {number}?") == "is [card number]?"
    wrong_check_digit = number[:-1] + str((int(number[-1]) + 1) % 10)
    assert not holds_card_number(wrong_check_digit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "BOOK-123",
        "evt_booking_BOOK-1_1734353677",
        "1734353677123",
        "1734353677123456789",
        "2024-12-15 20:00:00.123+01:00",
        "20241215200000123456",
        "2611272042343583",
        "+4915112345674",
        "4915112345674",
        "+62 812 3456 7890",
        "00000000-0000-4000-8000-000000000000",
        "4242a242-4242-4242-4242-424242424242",
        "TXN-4242424242424242424242424242424a",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30",
        "2 x 12.50 EUR, hall 4, row 12, seats 4 5 6",
        "5105105105105101",
    ],
)
def test_other_numbers_are_not_mistaken_for_cards(text: str) -> None:
    assert not holds_card_number(text)
    assert mask_card_numbers(text) == text


def test_two_numbers_are_masked_and_the_rest_is_kept() -> None:
    assert mask_card_numbers(f"from {CARD} to 4111 1111 1111 1111.") == "from [card number] to [card number]."


def _phone_number(rng: random.Random) -> str:
    import phonenumbers

    region = rng.choice(sorted(phonenumbers.SUPPORTED_REGIONS))
    example = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    if example is None:
        return "+14155550123"
    digits = list(phonenumbers.format_number(example, phonenumbers.PhoneNumberFormat.E164))
    digits[-4:] = f"{rng.randrange(10_000):04}"
    form = rng.choice(["{}", "{}", "call {}", "{} (mobile)"])
    return form.format("".join(digits))


def _date(rng: random.Random) -> str:
    return f"20{rng.randrange(20, 35)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"


#: From docs/security.md: kinds of text, and the maximum number of 100,000 that are mistaken for card numbers.
CORPUS: dict[str, tuple[Callable[[random.Random], str], int]] = {
    "UUIDs": (lambda rng: str(uuid.UUID(int=rng.getrandbits(128), version=4)), 0),
    "ids of this service": (lambda rng: f"TXN-{rng.getrandbits(128):032x}", 0),
    "order numbers with letters": (lambda rng: f"ORD-{_date(rng)}-{rng.randrange(10**6):06}", 0),
    "order numbers of 6 to 12 digits": (lambda rng: str(rng.randrange(10**5, 10**12)), 20),
    "order numbers that begin with a date": (lambda rng: f"{_date(rng)}{rng.randrange(10**9):09}", 0),
    "timestamps": (lambda rng: str(rng.randrange(15 * 10**11, 20 * 10**11) * rng.choice((1, 10**6))), 0),
    "snowflakes": (lambda rng: str(rng.randrange(10**18, 19 * 10**17)), 0),
    "dates and times": (
        lambda rng: (
            f"2026-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02} {rng.randrange(24):02}:30:00.000"
        ),
        0,
    ),
    "phone numbers": (_phone_number, 100),
    "seats": (lambda rng: " ".join(map(str, range(rng.randrange(1, 20), rng.randrange(21, 40)))), 0),
    "random numbers of 13 digits": (lambda rng: str(rng.randrange(10**12, 10**13)), 1_300),
    "random numbers of 16 digits": (lambda rng: str(rng.randrange(10**15, 10**16)), 4_500),
    "random numbers of 17 to 24 digits": (lambda rng: str(rng.randrange(10**16, 10**24)), 6_500),
}
_SAMPLES = 5_000


@pytest.mark.parametrize("kind", CORPUS)
def test_the_rate_of_false_alarms_is_as_documented(kind: str) -> None:
    make, most = CORPUS[kind]
    rng = random.Random(17)  # noqa: S311 - the same corpus each time
    alarms = [text for text in (make(rng) for _ in range(_SAMPLES)) if holds_card_number(text)]
    assert len(alarms) * 100_000 / _SAMPLES <= most, alarms[:10]


@pytest.mark.parametrize(
    "text", ["4 " * 32_000, "42" * 32_000, "x4" * 32_000, "4000-" * 13_000, "٤ " * 20_000]
)
def test_the_largest_hostile_text_takes_less_than_a_second(text: str) -> None:
    started = time.process_time()
    holds_card_number(text)
    assert time.process_time() - started < 1
