"""Format amounts and times for one reader, by locale, time zone, and currency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time, get_datetime_format, get_timezone_name
from babel.numbers import get_currency_precision

from actors.channels.email.errors import Unpresentable
from app.events.currencies import CURRENCY_CODES
from app.events.times import Time, read_time
from app.languages import known_locale
from app.money import CURRENCIES
from app.text import one_line

#: ISO 4217 minor units. Stripe's table differs from it for these two.
_MINOR_UNITS = CURRENCIES | {"ISK": 0, "UGX": 0}

#: Larger than any price in any currency, so that 1e999999 is not written out.
_LARGEST = Decimal(10) ** 12

_ENGLISH = Locale("en")

#: CLDR writes it before PM, and French between thousands; some email clients show it as a box.
NARROW_BLANK = "\N{NARROW NO-BREAK SPACE}"


@dataclass(frozen=True)
class Conventions:
    """One reader's conventions.

    Attributes:
        locale: locale of numbers and dates.
        zone: the event's `timezone`, to show times in; "" keeps each time's own offset.
        default_zone: IANA zone for events without one; "" for none.
        currency: ISO 4217 code.
    """

    locale: Locale
    zone: str
    default_zone: str
    currency: str

    @classmethod
    def of(cls, event: Mapping[str, Any], default_currency: str, default_zone: str = "") -> Self:
        """Return the conventions for `event`; English for an unknown locale.

        Raises:
            Unpresentable: the currency is not an ISO 4217 code.
        """
        currency = str(event.get("currency") or default_currency).upper()
        if currency not in CURRENCY_CODES:
            raise Unpresentable("currency must be an ISO 4217 code")
        locale = known_locale(str(event.get("locale") or "")) or _ENGLISH
        return cls(locale, str(event.get("timezone") or ""), default_zone, currency)

    def money(self, value: object) -> str:
        """Format an amount in major units with its currency.

        Args:
            value: a number, or a string of one. Rounded to the minor unit, because more digits can only be a
                sender's float error (10.1 * 3).

        Raises:
            Unpresentable: not a finite number, negative, or too large to be a price.
        """
        try:
            amount = Decimal(str(value))
        except (InvalidOperation, ValueError):
            amount = Decimal("NaN")
        if isinstance(value, bool) or not amount.is_finite() or not 0 <= amount < _LARGEST:
            raise Unpresentable("must be an amount of money, such as 25.50")
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
        # A no-break space separates a code of letters from a digit (UTS 35, currencySpacing).
        text = re.sub(rf"(?<=[A-Z])(?=\d)|{NARROW_BLANK}", "\N{NO-BREAK SPACE}", text)
        if self.locale.text_direction == "rtl":
            # Without a mark the sign of US$ is shown before its letters.
            text = re.sub(r"(?<=[A-Z])(\$)", "\\1\N{LEFT-TO-RIGHT MARK}", text)
        return text

    def moment(self, value: object) -> str:
        """Format a date or time in full, with its zone.

        Args:
            value: the event's value; free text is returned unchanged.
        """
        time = self._read(value)
        if time.day:
            return format_date(time.day, "full", self.locale)
        return self._time(time.local, time.zone) if time.local else one_line(time.text, 120)

    def brief(self, value: object) -> str:
        """Format a date or time briefly: `Mon, Dec 15, 2036, 8:00 PM EST`."""
        time = self._read(value)
        day = time.day or time.local
        if day is None:
            return one_line(time.text, 60)
        shown = format_skeleton("yMMMEd", day, locale=self.locale)
        if time.local is None:
            return shown
        hour = format_time(time.local, "short", tzinfo=time.local.tzinfo, locale=self.locale)
        zone = time.local.tzname() or ""
        # A zone without an abbreviation is shown with its offset.
        zone = f"UTC{zone}" if zone[:1] in {"+", "-"} else zone
        return f"{self._together('medium', shown, hour)} {zone}".rstrip()

    def instant(self, value: object) -> datetime | None:
        """Return the time of `value`; None for a date, for free text, or without a zone."""
        return self._read(value).instant

    def _read(self, value: object) -> Time:
        return read_time(str(value), self.zone, self.default_zone)

    def _time(self, moment: datetime, zone: tzinfo | None) -> str:
        day = format_date(moment, "full", self.locale)
        hour = format_time(moment, "short", tzinfo=moment.tzinfo, locale=self.locale)
        named = isinstance(zone, ZoneInfo)
        name = get_timezone_name(moment, locale=self.locale) if named else moment.tzname()
        return f"{self._together('full', day, hour)} {name or ''}".rstrip()

    def _together(self, length: Literal["full", "medium"], day: str, hour: str) -> str:
        """Join a day and a time by CLDR's pattern, with a comma where only a blank would follow a year."""
        pattern = str(get_datetime_format(length, self.locale)).replace("'", "")
        if pattern == "{1} {0}" and day[-1].isdigit():
            pattern = "{1}, {0}"
        return pattern.replace("{1}", day).replace("{0}", hour.replace(NARROW_BLANK, " "))
