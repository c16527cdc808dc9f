"""Amounts in Stripe's minor units."""

from decimal import Decimal

import pytest

from app.gateway.stripe.currencies import from_minor, to_minor
from app.money import CURRENCIES, canonical_amount


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("25.50", "USD", 2550),
        ("0.01", "USD", 1),
        ("1000", "JPY", 1000),
        ("100.00", "ISK", 10_000),
        ("100.00", "UGX", 10_000),
        ("1.230", "KWD", 1230),
        ("1000000.00", "USD", 100_000_000),
    ],
)
def test_amounts_and_minor_units_convert_both_ways(amount: str, currency: str, minor: int) -> None:
    assert to_minor(Decimal(amount), currency) == minor
    assert str(from_minor(minor, currency)) == str(from_minor(minor, currency.lower())) == amount


@pytest.mark.parametrize("currency", sorted(CURRENCIES))
def test_every_accepted_currency_has_stripes_decimals(currency: str) -> None:
    one = canonical_amount(Decimal(1), currency)
    assert to_minor(one, currency) == 10 ** CURRENCIES[currency]
    assert str(from_minor(to_minor(one, currency), currency)) == str(one)


def test_a_non_canonical_amount_is_an_error_and_never_rounded() -> None:
    with pytest.raises(ValueError, match="2 decimals"):
        to_minor(Decimal("25.555"), "USD")


def test_an_unaccepted_currency_can_be_read() -> None:
    assert from_minor(2550, "xyz") == Decimal("25.50")
