"""The supported currencies, and amounts as Decimal in major units.

Source of the table: https://docs.stripe.com/currencies (presentment, zero-decimal, three-decimal and special
cases). It differs from ISO 4217: ISK and UGX have no minor unit there, but take two decimals here.
"""

from __future__ import annotations

from decimal import Context, Decimal, Inexact, InvalidOperation

from app.errors import InvalidAmount

_ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
_THREE_DECIMAL = "BHD JOD KWD OMR TND"
_TWO_DECIMAL = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD CAD CDF CHF CNY "
    "COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR ISK "
    "JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO "
    "NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS "
    "TOP TRY TTD TWD TZS UAH UGX USD UYU UZS WST XCD XCG YER ZAR ZMW"
)

#: Currency code → digits after the decimal point of an amount.
CURRENCIES: dict[str, int] = (
    dict.fromkeys(_ZERO_DECIMAL.split(), 0)
    | dict.fromkeys(_TWO_DECIMAL.split(), 2)
    | dict.fromkeys(_THREE_DECIMAL.split(), 3)
)

#: Refuses to round: 25.00…01 is not 25.00, however many zeros.
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation])


def canonical_amount(amount: Decimal, currency: str) -> Decimal:
    """Return `amount` with the exact number of decimals of `currency`: 25.5 USD becomes 25.50.

    Raises:
        InvalidAmount: not finite, not positive, or too many decimals. Amounts are never rounded.
    """
    if not amount.is_finite() or amount <= 0:
        raise InvalidAmount("amount must be greater than 0.")
    digits = CURRENCIES[currency]
    try:
        canonical = _EXACT.quantize(amount, Decimal(1).scaleb(-digits))
    except (Inexact, InvalidOperation):
        raise InvalidAmount(f"amount must have at most {digits} decimals in {currency}.") from None
    if digits == 3 and canonical.as_tuple().digits[-1]:
        # Card networks support two decimals: https://docs.stripe.com/currencies#three-decimal
        raise InvalidAmount(f"amount must have 0 as its third decimal in {currency}.")
    return canonical
