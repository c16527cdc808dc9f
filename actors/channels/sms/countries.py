"""The countries that may receive SMS.

Premium-rate and satellite numbers are always refused, because fraudsters earn money with such messages (SMS
pumping: https://www.twilio.com/docs/glossary/what-is-sms-pumping-fraud).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberType

from actors.errors import NotAllowed

if TYPE_CHECKING:
    from app.settings import Settings

#: Value that allows any country.
ANY = "any"

#: libphonenumber's region of networks that belong to no country: satellite, international premium rate.
_NO_COUNTRY = "001"

_EXPENSIVE = {
    PhoneNumberType.PREMIUM_RATE: "a premium-rate number",
    PhoneNumberType.SHARED_COST: "a shared-cost number",
    PhoneNumberType.UAN: "a universal access number (UAN)",
    PhoneNumberType.PAGER: "a pager number",
    PhoneNumberType.VOICEMAIL: "a voicemail number",
}


class Countries:
    """Filter of phone numbers by country.

    Args:
        allowed: ISO 3166 codes; None for any country.
    """

    def __init__(self, allowed: Collection[str] | None) -> None:
        self._allowed = allowed

    @classmethod
    def of(cls, settings: Settings) -> Countries:
        """Return the countries of SMS_COUNTRIES, or the country of the sender's number if it is not set."""
        if settings.sms_countries:
            return cls(None if ANY in settings.sms_countries else settings.sms_countries)
        try:
            home = phonenumbers.region_code_for_number(phonenumbers.parse(settings.twilio_from_number))
        except NumberParseException:
            home = None
        return cls([home] if home else None)

    def check(self, number: str) -> None:
        """Refuse a number, in E.164, that may not receive SMS.

        Raises:
            NotAllowed: the number is refused. Has the reason.
        """
        parsed = phonenumbers.parse(number)
        prefix = f"+{parsed.country_code}"
        regions = phonenumbers.region_codes_for_country_code(parsed.country_code or 0)
        if _NO_COUNTRY in regions:
            raise NotAllowed(
                f"{prefix} belongs to a satellite network or international service, not to a country"
            )
        if kind := _EXPENSIVE.get(phonenumbers.number_type(parsed)):
            raise NotAllowed(f"the phone number is {kind}")
        if self._allowed is None:
            return
        # libphonenumber may not know a new range yet, so its prefix decides.
        country = phonenumbers.region_code_for_number(parsed)
        if not ({country} if country else set(regions)) & set(self._allowed):
            raise NotAllowed(f"SMS_COUNTRIES does not allow {country or prefix}")
