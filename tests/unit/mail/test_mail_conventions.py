"""Amounts and times in a reader's locale and time zone."""

import pytest

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import Unpresentable
from app.text import one_line


def conventions(**event: object) -> Conventions:
    return Conventions.of(event, "USD")


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "text"),
    [
        (30, None, None, "$30.00"),
        (30.5, "USD", "en-US", "$30.50"),
        ("15.00", "usd", "en_US.UTF-8", "$15.00"),
        ("1234567.5", "EUR", "de-DE", "1.234.567,50\N{NO-BREAK SPACE}€"),
        ("3000", "JPY", "en", "¥3,000"),
        (3000.0, "JPY", "en", "¥3,000"),
        ("12.5", "KWD", "en", "KWD\N{NO-BREAK SPACE}12.500"),
        ("1500", "ISK", "en", "ISK\N{NO-BREAK SPACE}1,500"),
        ("9.9", "CAD", "en", "CA$9.90"),
        ("9.9", "USD", "ar", "\u200f9.90\N{NO-BREAK SPACE}US$\u200e"),
        ("9999.9", "EUR", "fr", "9\N{NO-BREAK SPACE}999,90\N{NO-BREAK SPACE}€"),
        ("100", "RSD", "en", "RSD\N{NO-BREAK SPACE}100.00"),
        ("1", "XTS", "en", "XTS\N{NO-BREAK SPACE}1.00"),
        (10.1 * 3, "USD", "en", "$30.30"),
        ("0.005", "USD", "en", "$0.01"),
        (0, "USD", "en", "$0.00"),
        ("999999999999.99", "USD", "en", "$999,999,999,999.99"),
        ("30", "USD", "xx-Unknown", "$30.00"),
        ("30", "USD", "../../etc/passwd", "$30.00"),
        ("30", "EUR", "de-XX", "30,00\N{NO-BREAK SPACE}€"),
    ],
)
def test_amounts_are_formatted_for_the_locale(
    amount: object, currency: str | None, locale: str | None, text: str
) -> None:
    assert conventions(currency=currency, locale=locale).money(amount) == text


@pytest.mark.parametrize("amount", [True, "", "NaN", "Infinity", -0.01, "1e13", "1e999999999", [], {}, "$5"])
def test_an_invalid_amount_is_refused(amount: object) -> None:
    with pytest.raises(Unpresentable, match="must be an amount of money"):
        conventions().money(amount)


@pytest.mark.parametrize("currency", ["US", "<b>", "USDX", 12, "ÄÖÜ", "840", "ZZZ"])
def test_an_invalid_currency_is_refused(currency: object) -> None:
    with pytest.raises(Unpresentable, match="currency must be an ISO 4217 code"):
        conventions(currency=currency)


EASTERN = "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time"


@pytest.mark.parametrize(
    ("moment", "zone", "text"),
    [
        ("2026-12-15T20:00:00-05:00", "America/New_York", EASTERN),
        ("2026-12-16T01:00:00Z", "America/New_York", EASTERN),
        ("2026-12-15T20:00", "America/New_York", EASTERN),
        ("2026-07-15T20:00", "America/New_York", "Wednesday, July 15, 2026, 8:00 PM Eastern Daylight Time"),
        ("2026-12-15T20:00:00-05:00", None, "Tuesday, December 15, 2026, 8:00 PM UTC-05:00"),
        ("2026-12-15T20:00:00-05:00", "Mars/Base", "Tuesday, December 15, 2026, 8:00 PM UTC-05:00"),
        ("2026-12-15T20:00:00.123456Z", None, "Tuesday, December 15, 2026, 8:00 PM UTC"),
        ("2026-12-15T20:00:00", None, "Tuesday, December 15, 2026, 8:00 PM"),
        ("2026-12-15", "America/New_York", "Tuesday, December 15, 2026"),
        ("2024-12-15 8:00 PM", "America/New_York", "2024-12-15 8:00 PM"),
        ("Tonight,\r\nlate", None, "Tonight, late"),
        ("0001-01-01T00:00:00+00:00", "America/New_York", "0001-01-01T00:00:00+00:00"),
    ],
)
def test_times_are_parsed(moment: str, zone: str | None, text: str) -> None:
    assert conventions(timezone=zone).moment(moment) == text


@pytest.mark.parametrize(
    "zone", ["../../etc/passwd", "America", "", "x" * 10_000, "a\0b", "/etc/localtime", 5]
)
def test_an_unknown_zone_is_ignored(zone: object) -> None:
    assert conventions(timezone=zone).moment("2026-12-15T20:00:00Z").endswith("8:00 PM UTC")


def test_dates_follow_the_locale() -> None:
    german = conventions(locale="de", timezone="Europe/Berlin")
    assert german.moment("2026-12-15T19:00:00Z") == (
        "Dienstag, 15. Dezember 2026, 20:00 Mitteleuropäische Normalzeit"
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (" a\r\n b\tc\x00\x0b\x85d ", "a b c d"),
        ("a\u2028b\u202ec\ud800d", "a b c d"),
        ("family 👨\u200d👩\u200d👧", "family 👨\u200d👩\u200d👧"),
        ("x" * 31, "x" * 29 + "…"),
        ("\n" * 1_000_000, ""),
    ],
)
def test_line_breaks_become_spaces(text: str, line: str) -> None:
    assert one_line(text, 30) == line
