"""How amounts and times are written for one reader: by locale, time zone and currency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Self
from zoneinfo import ZoneInfo

from babel import Locale, UnknownLocaleError
from babel.dates import format_date, format_time, get_datetime_format, get_timezone_name
from babel.numbers import get_currency_precision

from actors.channels.email.errors import Unpresentable
from actors.channels.email.text import one_line
from app.money import CURRENCIES

#: ISO 4217 minor units. Stripe's table differs from it for these two.
_MINOR_UNITS = CURRENCIES | {"ISK": 0, "UGX": 0}

#: Beyond any price in any currency; keeps 1e999999 from being written out.
_LARGEST = Decimal(10) ** 12

_ENGLISH = Locale("en")


@dataclass(frozen=True)
class Conventions:
    """What one reader expects.

    Attributes:
        locale: of numbers and dates.
        zone: where times are told; None leaves each in the offset it came with.
        currency: ISO 4217.
    """

    locale: Locale
    zone: tzinfo | None
    currency: str

    @classmethod
    def of(cls, event: Mapping[str, Any], default_currency: str, default_zone: str = "") -> Self:
        """What `event` asks for; an unknown locale is English, an unknown zone the default one, if any.

        Raises:
            Unpresentable: the currency is no ISO 4217 code.
        """
        currency = str(event.get("currency") or default_currency).upper()
        if not re.fullmatch("[A-Z]{3}", currency):
            raise Unpresentable("currency is no ISO 4217 code")
        return cls(
            _locale(str(event.get("locale") or "")[:35]),
            _zone(str(event.get("timezone") or "")[:64]) or _zone(default_zone),
            currency,
        )

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
            raise Unpresentable("is no amount of money")
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
        """A date or a time in full, its zone named.

        Args:
            value: ISO 8601, told in `zone`; other text is given back as it stands.
        """
        text = one_line(str(value), 120)
        try:
            return format_date(date.fromisoformat(text), "full", self.locale)
        except ValueError:
            pass
        try:
            moment = datetime.fromisoformat(text)
            if self.zone:
                # A time without an offset is the zone's own.
                moment = moment.astimezone(self.zone) if moment.tzinfo else moment.replace(tzinfo=self.zone)
        except (ValueError, OverflowError):
            return text
        return self._time(moment)

    def instant(self, value: object) -> datetime | None:
        """The moment that `value` names, in `zone`; None if it is no ISO 8601 time or nobody knows where."""
        try:
            moment = datetime.fromisoformat(str(value))
            if self.zone:
                moment = moment.astimezone(self.zone) if moment.tzinfo else moment.replace(tzinfo=self.zone)
            elif moment.tzinfo:
                moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            return None
        # A date alone says when no film begins.
        return moment if moment.tzinfo and len(str(value)) > len("2026-12-31") else None

    def _time(self, moment: datetime) -> str:
        pattern = str(get_datetime_format("full", self.locale)).replace("'", "")
        day = format_date(moment, "full", self.locale)
        # CLDR writes a narrow no-break space before PM, which some mail programs show as a box.
        hour = format_time(moment, "short", tzinfo=moment.tzinfo, locale=self.locale).replace("\u202f", " ")
        zone = get_timezone_name(moment, locale=self.locale) if self.zone else moment.tzname()
        return f"{pattern.replace('{1}', day).replace('{0}', hour)} {zone or ''}".rstrip()


@lru_cache(maxsize=256)
def _locale(name: str) -> Locale:
    language, *rest = re.split("[-_]", name.partition(".")[0])
    for candidate in ("_".join([language, *rest]), language):
        try:
            return Locale.parse(candidate)
        except (ValueError, UnknownLocaleError):
            continue
    return _ENGLISH


@lru_cache(maxsize=256)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    # A folder or a name too long for a file gives an OSError.
    except (ValueError, LookupError, OSError):
        return None
