"""Texts: every sample in one segment, with its code, its amount and its link whole."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.samples import sample, variants
from actors.channels.sms import gsm7
from actors.channels.sms.texts import TEXTS, Texts
from actors.errors import PermanentFailure
from app.events import samples
from app.events.catalog import CATALOG

ALL_SAMPLES = {name: samples.sample(name) for name in samples.sample_names()}
TEMPLATES = sorted({kind.template for kind in CATALOG.values() if kind.template})
SAMPLES = {
    **{f"{name}.{variant}": sample(name, variant) for name in TEMPLATES for variant in variants(name)},
    **{name: event for name, event in ALL_SAMPLES.items() if CATALOG[event["event_type"]].template},
}
DOCUMENT = (Path(__file__).parents[3] / "docs" / "sms.md").read_text()
CONFIRMED = sample("booking_confirmation")
FAILED = sample("payment_failed")


def write(event: dict[str, Any], **changes: Any) -> str:
    return Texts("MovieApp", "USD").write(event["event_type"], event | changes)


def segments(text: str) -> int:
    """What a provider bills, counted apart from the code: 140 bytes each, less a header of 6 in several."""
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
    assert TEXTS.keys() == {event_type for event_type, kind in CATALOG.items() if kind.template}


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_one_clean_segment_with_its_code(name: str) -> None:
    event = SAMPLES[name]
    text = write(event)
    assert segments(text) == 1
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
            sample("booking_cancellation"),
            "MovieApp: Booking BOOK-789012 is cancelled: The Third Man, "
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
def test_what_each_event_says(event: dict[str, Any], text: str) -> None:
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
def test_whatever_the_title_the_rest_stands_in_one_segment(template: str, title: str) -> None:
    event = sample(template)
    text = write(event, movie_title=title)
    plain = write(event, movie_title="@@@")
    start, end = plain.split("@@@, ")
    assert text.startswith(start)
    assert text.endswith(end)
    assert segments(text) == 1
    assert text.isprintable()


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("“Tom’s” – a story…", '"Tom\'s" - a story...'),
        ("Škoda", "Skoda"),
        ("Łódź Œuvre", "Lodz OEuvre"),
        ("Amélie 🎬", "Amélie"),
        ("WALL·E", "WALL-E"),
        ("Über Größe", "Über Größe"),
    ],
)
def test_a_title_keeps_its_letters_as_far_as_the_alphabet_has_them(title: str, shown: str) -> None:
    assert f"confirmed: {shown}, Tue" in write(CONFIRMED, movie_title=title)


def test_a_title_is_shortened_as_little_as_possible() -> None:
    assert gsm7.septets(write(CONFIRMED, movie_title="A" * 300)) == 160


def test_a_title_in_another_alphabet_stands_where_70_characters_are_enough() -> None:
    text = write(CONFIRMED, movie_title="Третий человек", showtime="20:00", booking_id="B-1")
    assert text == "MovieApp: Booking B-1 confirmed: Третий человек, 20:00."
    assert segments(text) == 1


@pytest.mark.parametrize("locale", ["ru", "ja", "ar", "hi"])
def test_a_date_in_another_alphabet_is_never_cut(locale: str) -> None:
    text = write(CONFIRMED, locale=locale, movie_title="Название " * 20)
    date = write(CONFIRMED, locale=locale, movie_title="").split("confirmed: ")[1]
    assert text.endswith(date)
    assert segments(text) <= 3
    # How long a date is, and so whether it leaves room for a title, is for Babel's release to say.
    assert segments(text) == 1 or "confirmed: Название" in text


@pytest.mark.parametrize("length", [100, 255])
def test_a_code_is_never_cut(length: int) -> None:
    code = "B" * length
    for name in ("booking_confirmation", "payment_success", "payment_failed"):
        assert code in write(sample(name), booking_id=code)


@pytest.mark.parametrize("length", [40, 70, 71, 200, 1_900])
def test_a_link_is_whole_or_absent(length: int) -> None:
    link = "https://example.com/".ljust(length, "x")
    text = write(FAILED, retry_url=link)
    assert text.endswith(f"Try again: {link}") or text.endswith("Nothing was charged.")
    assert segments(text) == 1


def test_no_link_where_trying_again_is_of_no_use() -> None:
    assert write(FAILED, retry_possible=False).endswith("Nothing was charged.")


def test_no_refund_is_promised_where_there_is_none() -> None:
    assert "Refund" not in write(sample("booking_cancellation"), refund_eligible=False)


@pytest.mark.parametrize(
    ("amount", "currency", "locale", "shown"),
    [
        (1234.5, "USD", "en", "$1,234.50"),
        ("1234.5", "EUR", "de", "1.234,50 €"),
        (1234.5, "EUR", "fr", "1 234,50 €"),
        (1234, "JPY", "en", "¥1,234"),
        (1234.5, "KWD", "en", "KWD 1,234.500"),
        # Symbols that GSM-7 lacks.
        (1234.5, "INR", "en", "INR 1,234.50"),
        (1234.5, "PLN", "pl", "1 234,50 PLN"),
        (1234.5, "CZK", "cs", "1 234,50 CZK"),
    ],
)
def test_amounts_are_the_mails_in_the_alphabet_of_texts(
    amount: object, currency: str, locale: str, shown: str
) -> None:
    event = sample("payment_success")
    text = write(event, amount=amount, currency=currency, locale=locale)
    assert text == f"MovieApp: Payment of {shown} for booking BOOK-789012 received."


@pytest.mark.parametrize(
    ("changes", "field"), [({"amount": "much"}, "amount is no amount"), ({"booking_id": " "}, "booking_id")]
)
def test_what_cant_be_told_is_given_up_naming_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(PermanentFailure, match=field):
        write(sample("payment_success"), **changes)


def test_the_alphabet_has_128_characters_and_9_more() -> None:
    every = [chr(code) for code in range(0x10000) if gsm7.septets(chr(code))]
    # One of the 128 is the escape; the form feed among the extensions is no character to send.
    assert sum(gsm7.septets(character) == 1 for character in every) == 127
    assert sum(gsm7.septets(character) == 2 for character in every) == 9
