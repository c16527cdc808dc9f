"""Check amounts as Stripe does: https://docs.stripe.com/currencies"""

from __future__ import annotations

from decimal import Decimal

from devtools.stripe_simulator.errors import StripeError


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ZERO_DECIMALS = _codes("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf")
_THREE_DECIMALS = _codes("bhd jod kwd omr tnd")
_TWO_DECIMALS = _codes(
    "usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf "
    "chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils "
    "inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad "
    "ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl "
    "thb tjs top try ttd twd tzs uah ugx uyu uzs wst xcd xcg yer zar zmw"
)
CURRENCIES = _ZERO_DECIMALS | _TWO_DECIMALS | _THREE_DECIMALS

#: Minimum charges, in minor units. Stripe has none for other currencies.
_MINIMUM = {
    **dict.fromkeys(_codes("usd aud brl cad chf eur inr nzd sgd"), 50),
    **dict.fromkeys(_codes("aed myr pln ron"), 200),
    **dict.fromkeys(_codes("nok sek"), 300),
    **dict.fromkeys(_codes("mxn thb"), 1000),
    "bgn": 100,
    "czk": 1500,
    "dkk": 250,
    "gbp": 30,
    "hkd": 400,
    "huf": 17500,
    "jpy": 50,
}

#: Eight digits for most currencies, twelve for rupiah.
_MAXIMUM = {"idr": 999_999_999_999}
_MAX_AMOUNT = 99_999_999

#: Minor units must be a multiple of this: a third decimal must be 0, and two currencies allow no decimals in
#: practice.
_STEP = {**dict.fromkeys(_THREE_DECIMALS, 10), "isk": 100, "ugx": 100}


def check(amount: int, currency: str) -> None:
    """Refuse an amount that Stripe would not charge.

    Args:
        amount: in minor units.
        currency: its code in lower case.

    Raises:
        StripeError: the currency is unknown, or the amount is invalid in it.
    """
    if currency not in CURRENCIES:
        raise StripeError(400, f"Invalid currency: {currency}.", param="currency")
    least, limit = _MINIMUM.get(currency, 1), _MAXIMUM.get(currency, _MAX_AMOUNT)
    if amount < least:
        raise _refused("amount_too_small", f"Amount must be at least {shown(least, currency)}.")
    if amount > limit:
        raise _refused("amount_too_large", f"Amount must be no more than {shown(limit, currency)}.")
    step = _STEP.get(currency, 1)
    if amount % step:
        raise _refused("invalid_charge_amount", f"Amount must be a multiple of {step} in {currency.upper()}.")


def shown(amount: int, currency: str) -> str:
    """Return an amount for people: `25.50 USD`."""
    decimals = 0 if currency in _ZERO_DECIMALS else 3 if currency in _THREE_DECIMALS else 2
    return f"{Decimal(amount).scaleb(-decimals):f} {currency.upper()}"


def _refused(code: str, message: str) -> StripeError:
    return StripeError(400, message, code=code, param="amount")
