"""Requirements on every mail, checked for each template, sample, and language."""

import email
import email.policy
import json
import re
from datetime import UTC, datetime
from email.message import EmailMessage
from unicodedata import east_asian_width

import pytest
from icalendar import Calendar

from actors.channels.email.compose import compose
from actors.channels.email.render import TEMPLATES, Rendered, Renderer
from actors.channels.email.samples import sample, variants
from app.languages import Languages, without_isolates
from tests.unit.mail.mail_page import Page

ALL = [
    (template, variant, language)
    for template in TEMPLATES
    for variant in variants(template)
    for language in Languages().all
]
every_mail = pytest.mark.parametrize(("template", "variant", "language"), ALL)


@pytest.fixture
def mail(renderer: Renderer, template: str, variant: str, language: str) -> Rendered:
    return renderer.render(template, sample(template, variant) | {"locale": language})


@every_mail
def test_every_mail_is_small_and_valid_html(mail: Rendered, language: str) -> None:
    html = mail.html
    assert len(html.encode()) < 35_000, "Gmail clips at 102 KB; half of that is already a lot"
    assert max(len(style) for style in re.findall(r"<style.*?</style>", html, re.DOTALL)) < 16_000
    direction = "rtl" if language == "ar" else "ltr"
    assert re.search(rf'<html [^>]*lang="{language}" dir="{direction}"', html)
    assert re.search(rf'<div [^>]*role="article" lang="{language}" dir="{direction}"', html)
    assert 'name="color-scheme" content="light dark"' in html
    assert "prefers-color-scheme: dark" in html
    assert "x-apple-disable-message-reformatting" in html
    assert all('role="presentation"' in table for table in re.findall(r"<table[^>]*>", html))
    assert all(" alt=" in image for image in re.findall(r"<img[^>]*>", html))
    assert all(int(width) <= 600 for width in re.findall(r'\bwidth="(\d+)"', html))
    assert all(float(width) <= 600 for width in re.findall(r"max-width:([\d.]+)px", html))


@every_mail
def test_mails_load_and_run_nothing(mail: Rendered, template: str, variant: str) -> None:
    poster = sample(template, variant).get("poster_url")
    attached = {f"cid:{name}" for name in mail.images}
    assert set(re.findall(r'<img [^>]*src="([^"]*)"', mail.html)) <= attached | {poster}
    assert not re.search(r"<(link|iframe|form|object)\b|@import|url\(|javascript:|data:", mail.html)
    assert set(re.findall(r"<script[^>]*>", mail.html)) <= {'<script type="application/ld+json">'}
    for link in re.findall(r'<a [^>]*href="([^"]*)"', mail.html):
        assert link.startswith(("https://", "http://", "mailto:"))


@every_mail
def test_text_and_html_have_the_same_content(mail: Rendered) -> None:
    page = Page("<div " + mail.html.partition('role="article"')[2])
    links = {link for link in page.links if link.startswith("http") and f'href="{link}"' in mail.html}
    assert not {link for link in links if link not in mail.text}
    output = re.sub(r"\s+", " ", without_isolates(mail.text))
    # Amounts, ids, and dates: every word with a digit. Japanese has no spaces between words.
    words = {
        word.strip(".,;:()")
        for word in re.split(r"[\s\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef]+", without_isolates(page.text))
        if re.search(r"\d", word)
    }
    assert not {word for word in words if word not in output}
    for text in (mail.text, page.text, mail.subject, mail.preheader):
        assert not re.search(r"\bNone\b|\bundefined\b|\[\]|%\(", text)
    assert all(page.cells)


@every_mail
def test_subject_and_preheader_fit(mail: Rendered) -> None:
    assert 10 <= len(mail.subject) <= 140
    # An ideograph or kana takes the width of two letters.
    width = sum(2 if east_asian_width(character) in "WF" else 1 for character in mail.preheader)
    assert width >= 40 and len(mail.preheader) <= 130
    # CLDR writes Arabic amounts with directional marks.
    assert re.sub("[\u00a0\u200e\u200f]", " ", mail.subject + mail.preheader).isprintable()
    page = Page(mail.html)
    assert page.title == mail.subject
    assert mail.preheader.replace("\N{NO-BREAK SPACE}", " ") in page.text


@every_mail
def test_the_message_is_complete_and_small(mail: Rendered, template: str) -> None:
    wire = compose(
        mail,
        recipient="jane.doe@example.com",
        sender=("MovieApp", "tickets@example.com"),
        message_id="<a@example.com>",
        date=datetime(2026, 12, 1, tzinfo=UTC),
    ).as_bytes()
    assert len(wire) < 100_000
    assert max(map(len, wire.split(b"\r\n"))) <= 998, "RFC 5322, 2.1.1"
    message = email.message_from_bytes(wire, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    images = ["image/png"] * len(mail.images)
    page = ["multipart/related", "text/html", *images] if images else ["text/html"]
    body = ["multipart/alternative", "text/plain", *page]
    whole = ["multipart/mixed", *body, "text/calendar"] if mail.invitation else body
    assert [part.get_content_type() for part in message.walk()] == whole
    assert not any(part.defects for part in message.walk())
    if mail.invitation:
        assert Calendar.from_ical(mail.invitation.ics)["METHOD"] == mail.invitation.method
    if found := re.search(r"<script[^>]*>(.*?)</script>", mail.html, re.DOTALL):
        assert json.loads(found[1])["@type"] == "EventReservation"
        assert template.startswith("booking_")
