"""Convert amounts to and from Stripe's integers in minor units.

Source: https://docs.stripe.com/currencies (zero-decimal, three-decimal and special cases). ISK and UGX have
no decimals in everyday life, but two at Stripe.
"""

from __future__ import annotations

from decimal import Decimal

_ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
_THREE_DECIMAL = "BHD JOD KWD OMR TND"

#: Currencies whose minor unit is not a hundredth → digits after the decimal point.
_DECIMALS = dict.fromkeys(_ZERO_DECIMAL.split(), 0) | dict.fromkeys(_THREE_DECIMAL.split(), 3)


def to_minor(amount: Decimal, currency: str) -> int:
    """Convert `amount`, in canonical form and in major units of `currency`, to minor units.

    Raises:
        ValueError: the amount is not a whole number of minor units, so it is not canonical.
    """
    minor = amount.scaleb(_decimals(currency))
    if minor != int(minor):
        raise ValueError(f"the amount must have at most {_decimals(currency)} decimals in {currency}")
    return int(minor)


def from_minor(minor: int, currency: str) -> Decimal:
    """Convert minor units to major units of `currency`, which the API need not accept."""
    return Decimal(minor).scaleb(-_decimals(currency))


def _decimals(currency: str) -> int:
    return _DECIMALS.get(currency.upper(), 2)
