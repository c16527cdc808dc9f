"""How amounts and times are written for one reader: by locale, time zone, and currency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_skeleton, format_time, get_datetime_format, get_timezone_name
from babel.numbers import get_currency_precision

from actors.channels.email.errors import Unpresentable
from app.events.currencies import CURRENCY_CODES
from app.events.times import Time, read_time
from app.money import CURRENCIES
from app.text import one_line

#: ISO 4217 minor units. Stripe's table differs from it for these two.
_MINOR_UNITS = CURRENCIES | {"ISK": 0, "UGX": 0}

#: Beyond any price in any currency; keeps 1e999999 from being written out.
_LARGEST = Decimal(10) ** 12

_ENGLISH = Locale("en")

#: CLDR writes it before PM; some mail programs show it as a box.
NARROW_BLANK = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Conventions:
    """What one reader expects.

    Attributes:
        locale: of numbers and dates.
        zone: the event's `timezone`: where times are told; "" leaves each at the offset it came with.
        default_zone: for events that name no zone; IANA, "" for none.
        currency: ISO 4217.
    """

    locale: Locale
    zone: str
    default_zone: str
    currency: str

    @classmethod
    def of(cls, event: Mapping[str, Any], default_currency: str, default_zone: str = "") -> Self:
        """Return what `event` asks for; an unknown locale is English.

        Raises:
            Unpresentable: the currency is not an ISO 4217 code.
        """
        currency = str(event.get("currency") or default_currency).upper()
        if currency not in CURRENCY_CODES:
            raise Unpresentable("currency is not an ISO 4217 code")
        locale = _locale(str(event.get("locale") or "")[:35])
        return cls(locale, str(event.get("timezone") or ""), default_zone, currency)

    def money(self, value: object) -> str:
        """An amount in major units, with its currency and that currency's decimals.

        Args:
            value: a number, or a string of one. Anything finer than the minor unit can only be a sender's
                float error (10.1 * 3) and is rounded away.

        Raises:
            Unpresentable: not a finite number, negative, or too large to be a price.
        """
        try:
            amount = Decimal(str(value))
        except (InvalidOperation, ValueError):
            amount = Decimal("NaN")
        if isinstance(value, bool) or not amount.is_finite() or not 0 <= amount < _LARGEST:
            raise Unpresentable("is not an amount of money")
        amount += 0  # no minus before zero
        digits = _MINOR_UNITS.get(self.currency, get_currency_precision(self.currency))
        pattern = copy(self.locale.currency_formats["standard"])
        pattern.frac_prec = (digits, digits)
        text: str = pattern.apply(
            amount.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP),
            self.locale,
            currency=self.currency,
            currency_digits=False,
        )
        # Between a code of letters and a digit stands a blank that does not break (UTS 35, currencySpacing).
        return re.sub(r"(?<=[A-Z])(?=\d)", "\N{NO-BREAK SPACE}", text)

    def moment(self, value: object) -> str:
        """Return a date or a time in full, its zone named.

        Args:
            value: as the event has it; what is neither a date nor a time is given back as it stands.
        """
        time = self._read(value)
        if time.day:
            return format_date(time.day, "full", self.locale)
        return self._time(time.local, time.zone) if time.local else one_line(time.text, 120)

    def brief(self, value: object) -> str:
        """Return a date or a time in few characters: `Mon, Dec 15, 2036, 8:00 PM EST`."""
        time = self._read(value)
        day = time.day or time.local
        if day is None:
            return one_line(time.text, 60)
        shown = format_skeleton("yMMMEd", day, locale=self.locale)
        if time.local is None:
            return shown
        hour = format_time(time.local, "short", tzinfo=time.local.tzinfo, locale=self.locale)
        zone = time.local.tzname() or ""
        # A zone without an abbreviation has its offset in place of one.
        zone = f"UTC{zone}" if zone[:1] in {"+", "-"} else zone
        return f"{shown}, {hour.replace(NARROW_BLANK, ' ')} {zone}".rstrip()

    def instant(self, value: object) -> datetime | None:
        """Return the point in time that `value` names; None for a date, for text, and without a zone."""
        return self._read(value).instant

    def _read(self, value: object) -> Time:
        return read_time(str(value), self.zone, self.default_zone)

    def _time(self, moment: datetime, zone: tzinfo | None) -> str:
        pattern = str(get_datetime_format("full", self.locale)).replace("'", "")
        day = format_date(moment, "full", self.locale)
        hour = format_time(moment, "short", tzinfo=moment.tzinfo, locale=self.locale)
        hour = hour.replace(NARROW_BLANK, " ")
        named = isinstance(zone, ZoneInfo)
        name = get_timezone_name(moment, locale=self.locale) if named else moment.tzname()
        return f"{pattern.replace('{1}', day).replace('{0}', hour)} {name or ''}".rstrip()


@lru_cache(maxsize=256)
def _locale(name: str) -> Locale:
    language, *rest = re.split("[-_]", name.partition(".")[0])
    for candidate in ("_".join([language, *rest]), language):
        try:
            return Locale.parse(candidate)
        except (ValueError, UnknownLocaleError):
            continue
    return _ENGLISH
