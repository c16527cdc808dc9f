"""Mails in the reader's language, complete in each."""

import re
from importlib.resources import files
from io import BytesIO
from typing import Any

import pytest
from babel.messages.pofile import read_po

from actors.channels.email.languages import Languages
from actors.channels.email.messages import messages, update
from actors.channels.email.render import TEMPLATES, Brand, Rendered, Renderer
from actors.channels.email.samples import sample, variants
from tests.unit.mail.mail_page import Page

BRAND = Brand("MovieApp", "tickets@movieapp.example.com")
TRANSLATED = [language for code, language in Languages().all.items() if code != "en"]
ALL = [(template, variant) for template in TEMPLATES for variant in variants(template)]


def rendered(renderer: Renderer, template: str, variant: str = "full", **changes: Any) -> Rendered:
    return renderer.render(template, sample(template, variant) | changes)


def placeholders(text: str) -> list[str]:
    return sorted(re.findall(r"%\(\w+\)s|\{\w+\}", text))


@pytest.mark.parametrize("language", TRANSLATED, ids=lambda language: language.code)
def test_a_catalogue_translates_everything_and_nothing_else(language: Any) -> None:
    file = files("email_templates").joinpath("locales", f"{language.code}.po")
    catalog = read_po(BytesIO(file.read_bytes()), locale=language.code)
    entries: dict[Any, Any] = {entry.id: entry.string for entry in catalog if entry.id}
    assert set(entries) == messages()
    for english, translation in entries.items():
        forms = [translation] if isinstance(english, str) else list(translation)
        assert all(forms), english
        assert len(forms) == (1 if isinstance(english, str) else catalog.num_plurals)
        for form in forms:
            one = english if isinstance(english, str) else english[0]
            assert placeholders(one) == placeholders(form), english


def test_a_catalogue_that_is_up_to_date_stays_as_it_is(tmp_path: Any) -> None:
    committed = files("email_templates").joinpath("locales", "de.po").read_bytes()
    copy = tmp_path / "de.po"
    copy.write_bytes(committed)
    update(copy, "de")
    assert copy.read_bytes() == committed


def test_a_new_catalogue_has_every_message_to_translate(tmp_path: Any) -> None:
    update(tmp_path / "fr.po", "fr")
    written = (tmp_path / "fr.po").read_text()
    assert written.count('\nmsgstr ""') + written.count('\nmsgstr[0] ""') == len(messages())


@pytest.mark.parametrize(
    ("locale", "language", "date"),
    [
        ("de", "de", "Dienstag, 1. Dezember 2026"),
        ("de-AT", "de", "Dienstag, 1. Dezember 2026"),
        ("de_DE.UTF-8", "de", "Dienstag, 1. Dezember 2026"),
        ("en-GB", "en", "Tuesday, 1 December 2026"),
        ("fr-FR", "en", "Tuesday, December 1, 2026"),
        ("", "en", "Tuesday, December 1, 2026"),
    ],
)
def test_a_reader_gets_their_language_or_english_throughout(
    renderer: Renderer, locale: str, language: str, date: str
) -> None:
    mail = rendered(renderer, "payment_success", locale=locale)
    assert mail.language == language
    assert date in mail.text
    assert f'<html lang="{language}" dir="ltr"' in mail.html
    assert ("Zahlung erhalten" in mail.subject) == (language == "de")


def test_german_mails_are_german_in_every_part(renderer: Renderer) -> None:
    mail = rendered(renderer, "booking_confirmation", locale="de-DE", currency="EUR")
    assert mail.subject == "Buchung bestätigt: The Third Man (BOOK-789012)"
    page = Page(mail.html)
    for words in (mail.text, page.text):
        assert "30,00\N{NO-BREAK SPACE}€" in words or "30,00 €" in words
        assert "Dienstag, 15. Dezember" in words
        assert "Guten Tag, Jane Doe," in words
        for english in ("Showtime", "Seats", "Total:", "Hello", "Booking number"):
            assert english not in words


@pytest.mark.parametrize(("template", "variant"), ALL)
def test_no_english_sentence_is_left_in_a_german_mail(
    renderer: Renderer, template: str, variant: str
) -> None:
    german = rendered(renderer, template, variant, locale="de")
    english = rendered(renderer, template, variant, locale="en")
    sentences = {
        message
        for message in messages()
        if isinstance(message, str) and len(message) > 25 and "%" not in message and message in english.text
    }
    assert sentences or variant == "hostile"
    assert not {sentence for sentence in sentences if sentence in german.text + Page(german.html).text}


def test_a_reason_of_our_payment_service_is_translated(renderer: Renderer) -> None:
    reason = "Your card was declined. Please use another card."
    mail = rendered(
        renderer,
        "payment_failed",
        locale="de",
        error_code="CARD_DECLINED",
        failure_reason=reason,
        retry_advice="other_card",
    )
    for words in (mail.text, Page(mail.html).text):
        assert "Ihre Karte wurde abgelehnt. Bitte nehmen Sie eine andere Karte." in words
        assert "Bezahlen Sie mit einer anderen Karte oder auf einem anderen Weg." in words


def test_a_language_from_right_to_left_turns_the_page() -> None:
    arabic = 'msgid "Booking confirmed"\nmsgstr "تم تأكيد الحجز"\n'.encode()
    mail = rendered(
        Renderer(BRAND, "USD", languages=Languages({"ar": arabic})), "booking_confirmation", locale="ar"
    )
    assert '<html lang="ar" dir="rtl"' in mail.html
    assert "تم تأكيد الحجز" in mail.text
    assert "text-align:right" in mail.html
    assert not re.search(r"line-height:[^;]*;text-align:left", mail.html)


def test_what_stands_in_a_sentence_is_escaped(renderer: Renderer) -> None:
    for locale in ("en", "de"):
        mail = rendered(
            renderer, "payment_success", locale=locale, user_name="<b>Jane</b> %(amount)s %s {{ 7*7 }}"
        )
        assert "<b>Jane" not in mail.html
        assert "<b>Jane</b> %(amount)s %s {{ 7*7 }}" in Page(mail.html).text
