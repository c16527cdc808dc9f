"""SMS texts: every sample in one segment, with its complete code, amount, and link."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.conventions import Conventions
from actors.channels.email.samples import sample, variants
from actors.channels.sms import gsm7
from actors.channels.sms.texts import TEXTS, Texts, without_codes
from actors.errors import PermanentFailure
from app.events import samples
from app.events.catalog import DELIVERED
from app.languages import Languages

ALL_SAMPLES = {name: samples.sample(name) for name in samples.sample_names()}
TEMPLATES = sorted({kind.template for kind in DELIVERED.values() if kind.template})
SAMPLES = {
    **{f"{name}.{variant}": sample(name, variant) for name in TEMPLATES for variant in variants(name)},
    **{name: event for name, event in ALL_SAMPLES.items() if DELIVERED[event["event_type"]].template},
}
DOCUMENT = (Path(__file__).parents[3] / "docs" / "sms.md").read_text()
CONFIRMED = sample("booking_confirmation")
FAILED = sample("payment_failed")


def write(event: dict[str, Any], **changes: Any) -> str:
    return Texts("MovieApp", "USD").write(event["event_type"], event | changes)


def segments(text: str) -> int:
    """Return the billed segments, computed independently: 140 bytes each, less a header of 6 if there are
    several.
    """
    basic = (
        "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
        "abcdefghijklmnopqrstuvwxyzäöñüà"
    )
    escaped = "\f^{}\\[~]|€"
    if set(text) <= set(basic + escaped):
        count = sum(2 if character in escaped else 1 for character in text)
        return 1 if count <= 160 else math.ceil(count / 153)
    units = len(text.encode("utf-16-be")) // 2
    return 1 if units <= 70 else math.ceil(units / 67)


def test_every_event_type_has_a_text() -> None:
    assert TEXTS.keys() == {event_type for event_type, kind in DELIVERED.items() if kind.template}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_fits_one_segment_with_its_code(name: str) -> None:
    event = SAMPLES[name]
    text = write(event)
    # An update contains the old and the new state, which takes more than a segment.
    assert segments(text) <= (3 if event["event_type"] == "booking.updated" else 1)
    assert gsm7.segments(text) == segments(text)
    assert text.isprintable()
    assert text.startswith("MovieApp: ")
    assert event["booking_id"] in text


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            CONFIRMED,
            "MovieApp: Booking BOOK-789012 confirmed: The Third Man, "
            "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time.",
        ),
        (
            sample("booking_update"),
            "MovieApp: Booking BOOK-789012 has changed: The Third Man. "
            "New time: Tue, Dec 15, 2026, 8:00 PM EST (was Mon, Dec 14, 2026, 8:00 PM EST). "
            "New screen: Screen 4 (was Screen 2). New seats: B5, B6 (were A1, A2). "
            "Tickets: https://movieapp.example.com/tickets/BOOK-789012",
        ),
        (
            sample("booking_reminder"),
            "MovieApp: Reminder of booking BOOK-789012: "
            "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time, The Third Man. "
            "Codes: 8KQ2-VX7M-B5, 3FD9-TW4C-B6.",
        ),
        (
            sample("booking_cancellation"),
            "MovieApp: Booking BOOK-789012 is canceled: The Third Man, "
            "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time. Refund: $30.00.",
        ),
        (sample("payment_refund"), "MovieApp: Refund of $30.00 for booking BOOK-789012 is on its way."),
        (
            sample("payment_refund", "booking"),
            "MovieApp: Refund of $30.00 for booking BOOK-789012 is on its way.",
        ),
        (sample("payment_success"), "MovieApp: Payment of $30.00 for booking BOOK-789012 received."),
        (
            FAILED,
            "MovieApp: Payment of $30.00 for booking BOOK-789012 failed. Nothing was charged. "
            "Try again: https://movieapp.example.com/payment/retry/BOOK-789012",
        ),
    ],
    ids=lambda value: value["event_type"] if isinstance(value, dict) else "",
)
def test_each_event_has_the_documented_text(event: dict[str, Any], text: str) -> None:
    assert write(event) == text
    assert f"| {text} |" in DOCUMENT


LONG = {
    "letters": "A" * 300,
    "words": "The Very Long Title of a Film " * 40,
    "of two septets each": "€[]{}|~^" * 40,
    "quotes and dashes": "“Tom’s” – a Story… " * 30,
    "accents outside the alphabet": "Škoda čeká na nádraží " * 20,
    "another alphabet": "Третий человек " * 20,
    "pictures": "Amélie 🎬👨‍👩‍👧 " * 30,
    "no picture": "\U0001f3ac\ufe0f" * 50,
    "line breaks": "A\r\nBcc: b@example.com\n\nRefund of $9,999.00\x00\x1b[31m" * 20,
    "turned about": "\u202eevil\u2066 \u200b" * 30,
    "half a character": "\ud83c half" * 30,
    "fields": "{booking_id} {0} %s {sender.__class__}" * 10,
    "blank": " \u200b ",
}


@pytest.mark.parametrize("title", LONG.values(), ids=LONG.keys())
@pytest.mark.parametrize("template", ["booking_confirmation", "booking_cancellation"])
def test_any_title_leaves_the_rest_complete_in_one_segment(template: str, title: str) -> None:
    event = sample(template)
    text = write(event, movie_title=title)
    plain = write(event, movie_title="@@@")
    start, end = plain.split("@@@, ")
    assert text.startswith(start)
    # The date is shortened before the title.
    brief = end.replace(
        "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time", "Tue, Dec 15, 2026, 8:00 PM EST"
    )
    assert text.endswith((end, brief))
    assert segments(text) == 1
    assert text.isprintable()


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("“Tom’s” – a story…", '"Tom\'s" - a story...'),
        ("Škoda", "Skoda"),
        ("Łódź Œuvre", "Lodz Oeuvre"),
        ("Amélie 🎬", "Amélie"),
        ("WALL·E", "WALL-E"),
        ("Über Größe", "Über Größe"),
        ("Hi 👋🏽 everybody out there", "Hi everybody out there"),
        ("👨‍👩‍👧 Family 🇩🇪", "Family"),
        ("Ame\u0301lie from Montmartre", "Amélie from Montmartre"),
        ("Третий человек", "Tretiy chelovek"),
        ("Ο Τρίτος Άνθρωπος", "O Tritos Anthropos"),
        ("№ 1 ﬁlm: ½ ™", "No 1 film: 1/2 TM"),
    ],
)
def test_a_title_keeps_letters_that_gsm7_has(title: str, shown: str) -> None:
    assert f"confirmed: {shown}, Tue" in write(CONFIRMED, movie_title=title)


def test_a_title_is_shortened_as_little_as_possible() -> None:
    assert gsm7.septets(write(CONFIRMED, movie_title="A" * 300)) == 160


def test_a_title_in_another_alphabet_is_kept_if_70_characters_are_enough() -> None:
    text = write(CONFIRMED, movie_title="Третий человек", showtime="20:00", booking_id="B-1")
    assert text == "MovieApp: Booking B-1 confirmed: Третий человек, 20:00."
    assert segments(text) == 1


@pytest.mark.parametrize("locale", ["ru", "ja", "ar", "hi"])
def test_a_date_in_another_alphabet_is_never_cut(locale: str) -> None:
    # Without a catalog, the date is in English; the title stays in the language of the event.
    date = Conventions.of({"locale": locale}, "USD").moment("2026-12-15T20:00:00-05:00")
    text = write(CONFIRMED, showtime=date + " ", timezone=None, movie_title="Название " * 20)
    assert text.endswith(f"{gsm7.plain(date)}.")
    assert segments(text) <= 3
    assert segments(text) == 1 or "confirmed: Название" in text


@pytest.mark.parametrize("length", [100, 255])
def test_a_code_is_never_cut(length: int) -> None:
    code = "B" * length
    for name in ("booking_confirmation", "payment_success", "payment_failed"):
        assert code in write(sample(name), booking_id=code)


@pytest.mark.parametrize("length", [40, 70, 71, 200, 1_900])
def test_a_link_is_complete_or_omitted(length: int) -> None:
    link = "https://example.com/".ljust(length, "x")
    text = write(FAILED, retry_url=link)
    assert text.endswith(f"Try again: {link}") or text.endswith("Nothing was charged.")
    assert segments(text) == 1


def tickets(number: int) -> list[dict[str, str]]:
    return [{"seat": f"C{seat}", "code": f"CODE-{seat:02}"} for seat in range(1, number + 1)]


def test_codes_are_listed_if_they_fit_else_the_link() -> None:
    link = "https://example.com/t/1"
    two = write(CONFIRMED, tickets=tickets(2), ticket_url=link)
    assert "The Third Man" in two
    assert two.endswith("Codes: CODE-01, CODE-02.")
    twelve = write(CONFIRMED, tickets=tickets(12), ticket_url=link)
    assert twelve.endswith(f"Tickets: {link}")
    assert "CODE" not in twelve
    assert segments(two) == segments(twelve) == 1


def test_without_a_link_the_codes_take_more_segments() -> None:
    text = write(CONFIRMED, tickets=tickets(12), ticket_url=None)
    assert text.endswith("Codes: " + ", ".join(f"CODE-{seat:02}" for seat in range(1, 11)) + ", ...")
    assert segments(text) == 2


def test_the_date_is_shortened_before_the_title() -> None:
    text = write(CONFIRMED, tickets=tickets(5), movie_title="The Third Man Comes Back")
    assert "The Third Man Comes Back" in text
    assert "Dec 15, 2026, 8:00 PM EST" in text


def test_ticket_codes_are_hidden_in_the_console_log() -> None:
    shown = without_codes(CONFIRMED | {"tickets": tickets(2)})
    assert "CODE" not in write(shown)
    assert without_codes(CONFIRMED) == CONFIRMED


def test_an_sms_is_in_the_language_of_the_mail() -> None:
    text = write(sample("payment_success"), locale="de-AT", currency="EUR")
    assert text == "MovieApp: Zahlung von € 30,00 für Buchung BOOK-789012 erhalten."


TABLE = re.findall(r"^\| ([a-z.]+) \| (\d) \| (\d) \| (\d) \|$", DOCUMENT, re.MULTILINE)


@pytest.mark.parametrize(("event_type", "gsm7_count", "ar", "ja"), TABLE)
def test_segments_of_each_language_are_as_documented(
    event_type: str, gsm7_count: str, ar: str, ja: str
) -> None:
    template = DELIVERED[event_type].template
    assert template
    other = {"ar": int(ar), "ja": int(ja)}
    for code in Languages().all:
        text = write(sample(template), locale=code)
        assert segments(text) == other.get(code, int(gsm7_count)), text
        # The first letter, which sets the direction, does not belong to the sender's name.
        assert text.startswith("\u200f") == (code == "ar")


def test_every_event_type_with_its_own_text_is_in_the_table() -> None:
    assert {row[0] for row in TABLE} == TEXTS.keys() - {"booking.refunded"}


@pytest.mark.parametrize("language", Languages().all)
def test_a_failed_payment_has_its_link_in_every_language(language: str) -> None:
    assert FAILED["retry_url"] in write(FAILED, locale=language)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("я" * 72, 2),
    ],
)
def test_segments_are_counted_as_they_are_billed(text: str, count: int) -> None:
    assert gsm7.segments(text) == count


def test_there_is_no_retry_link_if_a_retry_cannot_succeed() -> None:
    assert write(FAILED, retry_possible=False).endswith("Nothing was charged.")


def test_no_refund_is_promised_if_there_is_none() -> None:
    assert "Refund" not in write(sample("booking_cancellation"), refund_eligible=False)


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "shown"),
    [
        (1234.5, "USD", "en", "$1,234.50"),
        ("1234.5", "EUR", "en", "€1,234.50"),
        # Without a catalog for the language, the whole text is in English, as in a mail.
        (1234.5, "EUR", "zh", "€1,234.50"),
        (1234, "JPY", "en", "¥1,234"),
        (1234.5, "KWD", "en", "KWD 1,234.500"),
        # Symbols that GSM-7 lacks.
        (1234.5, "INR", "en", "INR 1,234.50"),
        (1234.5, "PLN", "en", "PLN 1,234.50"),
    ],
)
def test_amounts_are_formatted_as_in_mails_within_gsm7(
    amount: object, currency: str, locale: str, shown: str
) -> None:
    event = sample("payment_success")
    text = write(event, amount=amount, currency=currency, locale=locale)
    assert text == f"MovieApp: Payment of {shown} for booking BOOK-789012 received."


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"amount": "much"}, "amount must be an amount"), ({"booking_id": " "}, "booking_id")],
)
def test_an_event_without_a_needed_field_fails_naming_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PermanentFailure, match=field):
        write(sample("payment_success"), **changes)


def test_the_alphabet_has_128_characters_and_9_more() -> None:
    every = [chr(code) for code in range(0x10000) if gsm7.septets(chr(code))]
    # One of the 128 is the escape character, and the form feed among the extensions is never sent.
    assert sum(gsm7.septets(character) == 1 for character in every) == 127
    assert sum(gsm7.septets(character) == 2 for character in every) == 9


@pytest.mark.parametrize("language", Languages().all)
def test_a_reminder_has_the_whole_title_in_every_language(language: str) -> None:
    assert "The Third Man" in write(sample("booking_reminder"), locale=language)


def test_a_shortened_title_ends_the_sentence_with_an_ellipsis() -> None:
    text = write(sample("booking_reminder", "long"))
    assert text.endswith("...")
    assert "...." not in text
