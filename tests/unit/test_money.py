from decimal import Decimal

import pytest

from app.errors import InvalidAmount
from app.money import CURRENCIES, from_minor, to_minor


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("25.50", "USD", 2550),
        ("25.5", "USD", 2550),
        ("0.01", "USD", 1),
        ("1000", "JPY", 1000),
        ("100", "ISK", 10_000),
        ("100", "UGX", 10_000),
        ("1.230", "KWD", 1230),
        ("1.23", "KWD", 1230),
        ("1E+2", "USD", 10_000),
        ("25.50" + "0" * 40, "USD", 2550),
    ],
)
def test_amounts_become_stripes_minor_units(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor
    assert from_minor(minor, currency) == Decimal(amount)


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("25.555", "USD"),
        ("25.50" + "0" * 40 + "1", "USD"),
        ("1E-400", "USD"),
        ("1E+400", "USD"),
        ("0.5", "JPY"),
        ("1.2345", "KWD"),
        ("1.234", "KWD"),
        ("0", "USD"),
        ("-1", "USD"),
        ("NaN", "USD"),
        ("Infinity", "USD"),
    ],
)
def test_what_cant_be_charged_exactly_is_refused_and_never_rounded(amount: str, currency: str) -> None:
    with pytest.raises(InvalidAmount, match="amount must"):
        to_minor(Decimal(amount), currency)


def test_every_currency_has_the_decimals_of_stripes_table() -> None:
    assert CURRENCIES["JPY"] == 0
    assert CURRENCIES["USD"] == CURRENCIES["ISK"] == CURRENCIES["UGX"] == 2
    assert {code for code, digits in CURRENCIES.items() if digits == 3} == {"BHD", "JOD", "KWD", "OMR", "TND"}
    assert all(len(code) == 3 and code.isupper() for code in CURRENCIES)
