"""Which numbers may receive SMS."""

from __future__ import annotations

import pytest

from actors.channels.sms.countries import Countries
from actors.errors import NotAllowed
from app.settings import Settings, SettingsError, load_settings


def countries(listed: tuple[str, ...] = (), sender: str = "+14155550100") -> Countries:
    return Countries.of(Settings(_env_file=None, sms_countries=listed, twilio_from_number=sender))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        ("+88213300000", "not to a country"),
        ("+881612345678", "not to a country"),
        ("+870772001234", "not to a country"),
        ("+979123456789", "not to a country"),
        ("+80012345678", "not to a country"),
        ("+19005550123", "a premium-rate number"),
        ("+449090879123", "a premium-rate number"),
        ("+33899123456", "a premium-rate number"),
    ],
)
@pytest.mark.parametrize("listed", [(), ("US", "GB", "FR"), ("any",)])
def test_premium_and_satellite_numbers_never_get_sms(
    number: str, reason: str, listed: tuple[str, ...]
) -> None:
    with pytest.raises(NotAllowed, match=reason):
        countries(listed).check(number)


def test_without_a_list_only_the_senders_country_gets_sms() -> None:
    countries().check("+12025550123")
    for abroad in ("+4915112345678", "+14165550123", "+18765550123"):
        with pytest.raises(NotAllowed, match=r"SMS_COUNTRIES does not allow (DE|CA|JM)"):
            countries().check(abroad)


def test_only_listed_countries_get_sms() -> None:
    for number in ("+4915112345678", "+12025550123"):
        countries(("DE", "US")).check(number)
        countries(("any",)).check(number)
    with pytest.raises(NotAllowed, match="SMS_COUNTRIES does not allow US"):
        countries(("DE",)).check("+12025550123")


def test_an_unassigned_range_counts_as_its_prefixs_country() -> None:
    countries(("US",)).check("+15555550123")
    with pytest.raises(NotAllowed, match=r"SMS_COUNTRIES does not allow \+1"):
        countries(("DE",)).check("+15555550123")


@pytest.mark.parametrize("sender", ["MovieApp", "12345", ""])
def test_a_sender_without_a_country_can_reach_all_but_expensive_numbers(sender: str) -> None:
    countries(sender=sender).check("+4915112345678")
    with pytest.raises(NotAllowed):
        countries(sender=sender).check("+19005550123")


@pytest.mark.parametrize("value", ["usa", "us", "US;CA", "U1"])
def test_an_invalid_country_list_stops_the_start(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMS_COUNTRIES", value)
    with pytest.raises(SettingsError, match="SMS_COUNTRIES: must be 'any', or two-letter ISO 3166"):
        load_settings()
