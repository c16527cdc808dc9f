from decimal import Decimal

import pytest

from app.errors import InvalidAmount
from app.money import CURRENCIES, canonical_amount


@pytest.mark.parametrize(
    ("amount", "currency", "canonical"),
    [
        ("25.50", "USD", "25.50"),
        ("25.5", "USD", "25.50"),
        ("0.01", "USD", "0.01"),
        ("1000", "JPY", "1000"),
        ("1000.0", "JPY", "1000"),
        ("100", "ISK", "100.00"),
        ("1.23", "KWD", "1.230"),
        ("1E+2", "USD", "100.00"),
        ("25.50" + "0" * 40, "USD", "25.50"),
    ],
)
def test_an_amount_is_padded_to_the_decimals_of_its_currency(
    amount: str, currency: str, canonical: str
) -> None:
    assert str(canonical_amount(Decimal(amount), currency)) == canonical


@pytest.mark.parametrize(
    ("amount", "currency"),
    [
        ("25.555", "USD"),
        ("25.50" + "0" * 40 + "1", "USD"),
        ("1E-400", "USD"),
        ("1E+400", "USD"),
        ("1E+999999999999999999", "USD"),
        ("1E-999999999999999999", "JPY"),
        ("0.5", "JPY"),
        ("1.2345", "KWD"),
        ("1.234", "KWD"),
        ("0", "USD"),
        ("-0.00", "USD"),
        ("-1", "USD"),
        ("NaN", "USD"),
        ("sNaN", "USD"),
        ("Infinity", "USD"),
    ],
)
def test_an_amount_that_is_not_exact_is_refused_and_never_rounded(amount: str, currency: str) -> None:
    with pytest.raises(InvalidAmount, match="amount must"):
        canonical_amount(Decimal(amount), currency)


def test_every_currency_has_its_decimals() -> None:
    assert CURRENCIES["JPY"] == 0
    assert CURRENCIES["USD"] == CURRENCIES["ISK"] == CURRENCIES["UGX"] == 2
    assert {code for code, digits in CURRENCIES.items() if digits == 3} == {"BHD", "JOD", "KWD", "OMR", "TND"}
    assert all(len(code) == 3 and code.isupper() for code in CURRENCIES)
