"""Mails in the reader's language, with complete translations."""

import re
from operator import attrgetter
from typing import Any

import pytest

from actors.channels.email.messages import messages
from actors.channels.email.render import TEMPLATES, Brand, Rendered, Renderer
from actors.channels.email.samples import sample, variants
from actors.channels.email.wording import failure_of
from app import declines
from app.declines import Decline
from app.languages import Language, Languages
from tests.unit.mail.mail_page import Page

BRAND = Brand("MovieApp", "tickets@movieapp.example.com")
TRANSLATED = [language for code, language in Languages().all.items() if code != "en"]
ALL = [(template, variant) for template in TEMPLATES for variant in variants(template)]


def rendered(renderer: Renderer, template: str, variant: str = "full", **changes: Any) -> Rendered:
    return renderer.render(template, sample(template, variant) | changes)


@pytest.mark.parametrize(
    ("locale", "language", "date"),
    [
        ("de", "de", "Dienstag, 1. Dezember 2026"),
        ("de-AT", "de", "Dienstag, 1. Dezember 2026"),
        ("de_DE.UTF-8", "de", "Dienstag, 1. Dezember 2026"),
        ("en-GB", "en", "Tuesday, 1 December 2026"),
        ("fr-FR", "fr", "mardi 1 décembre 2026"),
        ("es_MX", "es", "martes, 1 de diciembre de 2026"),
        ("zh-Hant-TW", "en", "Tuesday, December 1, 2026"),
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


def test_every_part_of_a_german_mail_is_german(renderer: Renderer) -> None:
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


def test_a_decline_reason_of_our_payment_service_is_translated(renderer: Renderer) -> None:
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
        assert "Ihre Karte wurde abgelehnt." in words
        assert "Bitte nehmen Sie eine andere Karte." not in words
        assert "Bezahlen Sie mit einer anderen Karte oder Zahlungsart." in words


@pytest.mark.parametrize("language", Languages().all.values(), ids=lambda language: language.code)
@pytest.mark.parametrize("decline", sorted(declines.EVERY, key=attrgetter("message")))
def test_a_decline_reason_is_one_sentence_in_every_language(language: Language, decline: Decline) -> None:
    output = language.gettext(decline.message)
    reason = failure_of(language, decline.code, decline.message, decline.retry).reason
    assert output.startswith(reason)
    assert re.fullmatch(r"[^.\u3002]+[.\u3002]", reason)
    assert reason != output


def test_a_right_to_left_language_mirrors_the_page() -> None:
    arabic = 'msgid "Booking confirmed"\nmsgstr "تم تأكيد الحجز"\n'.encode()
    mail = rendered(
        Renderer(BRAND, "USD", languages=Languages({"ar": arabic})), "booking_confirmation", locale="ar"
    )
    assert '<html lang="ar" dir="rtl"' in mail.html
    assert "تم تأكيد الحجز" in mail.text
    assert "text-align:right" in mail.html
    assert not re.search(r"line-height:[^;]*;text-align:left", mail.html)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_right_to_left_page_has_no_left_to_right_styles(renderer: Renderer, template: str) -> None:
    html = rendered(renderer, template, locale="ar").html
    assert not re.search(r"direction: ?ltr", html)
    # Codes are exceptions.
    assert set(re.findall(r'<[^>]*dir="ltr"[^>]*>', html)) == set(
        re.findall(r'<div class="value" dir="ltr"[^>]*>', html)
    )


def test_values_in_sentences_are_escaped(renderer: Renderer) -> None:
    for locale in ("en", "de"):
        mail = rendered(
            renderer, "payment_success", locale=locale, user_name="<b>Jane</b> %(amount)s %s {{ 7*7 }}"
        )
        assert "<b>Jane" not in mail.html
        assert "<b>Jane</b> %(amount)s %s {{ 7*7 }}" in Page(mail.html).text


def test_japanese_sentences_are_joined_without_a_space(renderer: Renderer) -> None:
    mail = rendered(renderer, "payment_failed", locale="ja")
    for words in (mail.preheader, mail.text, mail.html):
        assert "\u3002" in words
        assert "\u3002 " not in words


@pytest.mark.parametrize("locale", ["de", "ar", "ja"])
@pytest.mark.parametrize("template", ["booking_confirmation", "booking_update", "booking_reminder"])
def test_subject_and_preheader_contain_the_whole_short_showtime(
    renderer: Renderer, template: str, locale: str
) -> None:
    mail = rendered(renderer, template, locale=locale)
    for line in (mail.preheader, mail.subject if template == "booking_reminder" else "EST"):
        assert "EST" in line
        assert "…" not in line


@pytest.mark.parametrize(
    ("locale", "time", "shown"),
    [
        ("en", "5-10 business days", "5-10 business days"),
        ("de", "5-10 business days", "5 bis 10 Werktage"),
        ("fr", "5-7 business days", "5 à 7 jours ouvrés"),
        ("pl", "2-4 business days", "2–4 dni robocze"),
        ("pl", "5\u20137 Business Days", "5–7 dni roboczych"),
        ("ja", "5-7 business days", "5～7営業日"),
        ("de", "about a week", "about a week"),
    ],
)
def test_the_processing_time_of_a_refund_is_translated(
    renderer: Renderer, locale: str, time: str, shown: str
) -> None:
    mail = rendered(renderer, "payment_refund", locale=locale, processing_time=time)
    for words in (mail.text, Page(mail.html).text):
        assert shown in words


@pytest.mark.parametrize(
    ("locale", "shown"),
    [
        ("it", "martedì 15 dicembre 2026, 20:00 Ora"),
        ("pl", "wtorek, 15 grudnia 2026, 20:00 czas"),
        ("pt-BR", "terça-feira, 15 de dezembro de 2026, 20:00 Horário"),
        ("ja", "2026年12月15日火曜日 20:00 米国東部標準時"),
    ],
)
def test_a_time_is_separated_from_the_year_by_more_than_a_space(
    renderer: Renderer, locale: str, shown: str
) -> None:
    mail = rendered(renderer, "booking_confirmation", locale=locale)
    assert shown in mail.text
    assert not re.search(r"2026 20:00", mail.preheader)


def test_a_booking_number_is_not_wrapped_in_a_sentence(renderer: Renderer) -> None:
    html = rendered(renderer, "payment_refund", locale="ar").html
    for number in ("BOOK-789012", "REF-123456"):
        assert f'<span style="white-space:nowrap">{number}</span>' in html
    long = rendered(renderer, "payment_refund", "long", locale="ar").html
    assert 'nowrap">BOOK' not in long
