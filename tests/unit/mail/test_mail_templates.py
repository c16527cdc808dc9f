"""Every template with every sample: required and forbidden content of a mail."""

import re
from importlib.resources import files
from typing import Any

import pytest

from actors.channels.email.errors import RenderError, TemplateVariableMissing
from actors.channels.email.render import TEMPLATES, Brand, Rendered, Renderer
from actors.channels.email.samples import sample, variants
from actors.channels.email.wording import ADVICE, FAILURES
from app import declines
from app.events.catalog import DELIVERED
from app.events.schemas import without_nulls
from tests.unit.mail.mail_page import Page

ALL = [(template, variant) for template in TEMPLATES for variant in variants(template)]

#: Facts in both parts of a full sample's mail.
FACTS = {
    "booking_confirmation": [
        "The Third Man",
        "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time",
        "Grand Palace Cinema",
        "12 Canal Street, New York, NY 10013",
        "https://maps.example.com/?q=Grand+Palace+Cinema",
        "https://movieapp.example.com/tickets/BOOK-789012",
        "Screen 4",
        "B5, B6",
        "1 hr 44 min",
        "BOOK-789012",
        "Tuesday, December 1, 2026",
        "$30.00",
        "Jane Doe",
    ],
    "booking_update": [
        "The Third Man",
        "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time",
        "Monday, December 14, 2026, 8:00 PM Eastern Standard Time",
        "Screen 4",
        "Screen 2",
        "B5, B6",
        "A1, A2",
        "Seat B5",
        "8KQ2-VX7M-B5",
        "Adult, Jane Doe",
        "Seat B6",
        "3FD9-TW4C-B6",
        "BOOK-789012",
        "$30.00",
        "https://movieapp.example.com/tickets/BOOK-789012",
    ],
    "booking_reminder": [
        "The Third Man",
        "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time",
        "Grand Palace Cinema",
        "12 Canal Street, New York, NY 10013",
        "https://maps.example.com/?q=Grand+Palace+Cinema",
        "Screen 4",
        "Seat B5",
        "8KQ2-VX7M-B5",
        "Adult, Jane Doe",
        "Seat B6",
        "3FD9-TW4C-B6",
        "1 hr 44 min",
        "BOOK-789012",
        "https://movieapp.example.com/tickets/BOOK-789012",
    ],
    "booking_cancellation": [
        "The Third Man",
        "Tuesday, December 15, 2026, 8:00 PM Eastern Standard Time",
        "Grand Palace Cinema",
        "B5, B6",
        "BOOK-789012",
        "Cancelled by the customer",
        "Wednesday, December 2, 2026, 6:00 AM Eastern Standard Time",
        "$30.00",
        "https://movieapp.example.com/refund-policy",
        "Wednesday, December 16, 2026, 6:00 PM Eastern Standard Time",
        "https://movieapp.example.com/book/881",
        "Thursday, December 17, 2026, 9:15 PM Eastern Standard Time",
        "Riverside Screens",
        "https://movieapp.example.com/book/902",
    ],
    "payment_success": [
        "$30.00",
        "Credit card",
        "Visa ending in 1111",
        "TXN-456789",
        "BOOK-789012",
        "Tuesday, December 1, 2026, 5:30 AM Eastern Standard Time",
        "What happens next",
        "Questions?",
    ],
    "payment_failed": [
        "$30.00",
        "No money was taken",
        "Your card has insufficient funds.",
        "Pay with another card",
        "https://movieapp.example.com/payment/retry/BOOK-789012",
        "TXN-456790",
        "BOOK-789012",
        "Questions?",
    ],
    "payment_refund": [
        "$30.00",
        "REF-123456",
        "TXN-456789",
        "BOOK-789012",
        "Customer cancellation",
        "5-7 business days",
        "Why does it take so long?",
        "keep this email for your records",
    ],
}

#: Required fields of each mail.
NEEDED = [
    ("booking_confirmation", "booking_id"),
    ("booking_confirmation", "movie_title"),
    ("booking_confirmation", "showtime"),
    ("booking_confirmation", "seats"),
    ("booking_confirmation", "total_amount"),
    ("booking_reminder", "booking_id"),
    ("booking_reminder", "movie_title"),
    ("booking_reminder", "showtime"),
    ("booking_cancellation", "booking_id"),
    ("payment_success", "amount"),
    ("payment_success", "booking_id"),
    ("payment_success", "payment_method"),
    ("payment_success", "transaction_id"),
    ("payment_failed", "amount"),
    ("payment_failed", "booking_id"),
    ("payment_failed", "error_code"),
    ("payment_failed", "payment_method"),
    ("payment_failed", "transaction_id"),
    ("payment_refund", "booking_id"),
    ("payment_refund", "original_transaction_id"),
    ("payment_refund", "reason"),
    ("payment_refund", "refund_amount"),
    ("payment_refund", "refund_transaction_id"),
]


def rendered(renderer: Renderer, template: str, variant: str = "full", /, **changes: Any) -> Rendered:
    return renderer.render(template, sample(template, variant) | changes)


def test_every_event_has_a_template_and_every_template_its_samples() -> None:
    assert {kind.template for kind in DELIVERED.values() if kind.template} == set(TEMPLATES)
    for template in TEMPLATES:
        assert {"full", "minimal", "hostile"} <= set(variants(template))


@pytest.mark.parametrize(("template", "variant"), ALL)
def test_samples_are_events_of_their_template(template: str, variant: str) -> None:
    event = without_nulls(sample(template, variant))
    kind = DELIVERED[event["event_type"]]
    assert kind.template == template
    assert not kind.schema.validate(event)


@pytest.mark.parametrize("template", TEMPLATES)
def test_both_parts_contain_every_fact(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template)
    page = Page(mail.html)
    for fact in FACTS[template]:
        assert fact in mail.text
        assert fact in page.links or fact in page.text


@pytest.mark.parametrize("template", TEMPLATES)
def test_absent_fields_leave_no_gap(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template, "minimal")
    page = Page(mail.html)
    for words in (mail.text, page.text, mail.subject, mail.preheader):
        assert not re.search(r"None|null|undefined|\(\)|\[\]", words)
    assert page.cells
    assert all(page.cells)
    # A label or heading is always followed by content.
    assert not re.search(r"^[^\n]*:\s*$\n\s*(\n|$)", mail.text, re.MULTILINE)
    assert "\n\n\n" not in mail.text
    assert "  " not in mail.text


@pytest.mark.parametrize(("template", "variable"), NEEDED)
def test_a_missing_variable_is_named_and_stops_rendering(
    renderer: Renderer, template: str, variable: str
) -> None:
    with pytest.raises(TemplateVariableMissing, match=f"{template}.* {variable} is missing") as raised:
        rendered(renderer, template, **{variable: None})
    assert (raised.value.template, raised.value.variable) == (template, variable)


def test_a_blank_field_counts_as_missing(renderer: Renderer) -> None:
    with pytest.raises(TemplateVariableMissing, match="movie_title"):
        rendered(renderer, "booking_confirmation", movie_title=" \n")


@pytest.mark.parametrize(
    ("template", "field", "value"),
    [
        ("payment_success", "amount", "lots"),
        ("payment_success", "amount", "1e999999"),
        ("payment_success", "amount", -1),
        ("payment_success", "currency", "<USD>"),
        ("booking_confirmation", "seats", "B5"),
        ("booking_confirmation", "movie_title", {"en": "The Third Man"}),
        ("booking_cancellation", "refund_eligible", "perhaps"),
        ("booking_cancellation", "alternative_showtimes", ["tomorrow"]),
    ],
)
def test_a_value_of_the_wrong_type_is_named(
    renderer: Renderer, template: str, field: str, value: object
) -> None:
    with pytest.raises(RenderError, match=rf"{template}: {field} must be"):
        rendered(renderer, template, **{field: value})


def test_an_unknown_template_is_refused(renderer: Renderer) -> None:
    with pytest.raises(RenderError, match="unknown template 'layout'"):
        renderer.render("layout", {})


@pytest.mark.parametrize("template", TEMPLATES)
def test_hostile_data_is_inert(renderer: Renderer, template: str) -> None:
    full = Page(rendered(renderer, template).html)
    mail = rendered(renderer, template, "hostile")
    page = Page(mail.html)
    assert page.tags <= full.tags
    assert page.attributes <= full.attributes
    assert all(link.startswith("https://") or link in ("cid:qr", "cid:qr01") for link in page.links)
    assert not any("evil" in link or "script" in link for link in page.links)
    assert "everyone@example" not in page.text + mail.text  # a greeting omits text that looks like a link
    assert not re.search(r"^(Bcc|X-Injected|Refund amount: \$9|Total: \$0)", mail.text, re.MULTILINE)
    assert "4242424242424242" not in mail.text + mail.html


def test_markup_in_a_title_is_shown_as_text(renderer: Renderer) -> None:
    title = '<b>Tom & Jerry\'s</b> "Big" Day'
    mail = rendered(renderer, "booking_confirmation", movie_title=title)
    assert title in mail.subject
    assert title in mail.text
    assert title in Page(mail.html).text
    assert title not in mail.html


@pytest.mark.parametrize("text", ["<" * 100_000, "x" * 1_000_000, "x" + "\n" * 100_000 + "x", "😀" * 50_000])
@pytest.mark.parametrize("template", TEMPLATES)
def test_huge_texts_are_truncated(renderer: Renderer, template: str, text: str) -> None:
    event = sample(template)
    huge: dict[str, Any] = {
        name: text for name, value in event.items() if isinstance(value, str) and name != "currency"
    }
    huge |= {"seats": [text] * 5, "event_type": event["event_type"]}
    mail = renderer.render(template, event | huge)
    assert len(mail.html.encode()) < 60_000
    assert len(mail.subject) <= 140


@pytest.mark.parametrize("template", TEMPLATES)
def test_font_sizes_are_large_enough(renderer: Renderer, template: str) -> None:
    body = rendered(renderer, template).html.partition('role="article"')[2]
    # MJML uses zero to remove gaps between blocks; no text has this size.
    sizes = {float(size) for size in re.findall(r"font-size:([\d.]+)px", body)} - {0.0}
    assert min(sizes) >= 13
    assert 16 in sizes


@pytest.mark.parametrize("code", [*FAILURES, "lost_card", "fraudulent"])
def test_a_failed_payment_mail_says_why_what_to_do_and_that_nothing_was_charged(
    renderer: Renderer, code: str
) -> None:
    mail = rendered(renderer, "payment_failed", error_code=code, failure_reason="Declined")
    row = FAILURES.get(code, FAILURES["CARD_DECLINED"])
    for words in (mail.text, Page(mail.html).text):
        assert row.reason in words
        assert row.advice in words
        assert "No money was taken" in words


@pytest.mark.parametrize("advice", ADVICE)
def test_reasons_of_our_payment_service_are_shown_and_its_advice_followed(
    renderer: Renderer, advice: str
) -> None:
    mail = rendered(renderer, "payment_failed", failure_reason=declines.LIMIT.message, retry_advice=advice)
    for words in (mail.text, Page(mail.html).text):
        assert "Your card has reached its limit." in words
        # The advice replaces the reason's own.
        assert "Please try again later" not in words
        assert ADVICE[advice] in words


@pytest.mark.parametrize("code", [*FAILURES, "stolen_card"])
@pytest.mark.parametrize("reason", ["Card reported stolen", "lost_card", "Looks fraudulent", "pickup_card"])
def test_hidden_decline_reasons_are_not_shown(renderer: Renderer, code: str, reason: str) -> None:
    mail = rendered(renderer, "payment_failed", error_code=code, failure_reason=reason)
    assert not re.search("lost|stolen|fraud|pickup", mail.text + Page(mail.html).text, re.IGNORECASE)


def test_a_generic_decline_shows_no_reason(renderer: Renderer) -> None:
    mail = rendered(renderer, "payment_failed", error_code="CARD_DECLINED", failure_reason="On a list")
    assert "On a list" not in mail.text + mail.html


@pytest.mark.parametrize("response", [False, "false", 0])
def test_there_is_no_retry_button_if_a_retry_cannot_succeed(renderer: Renderer, response: object) -> None:
    mail = rendered(renderer, "payment_failed", retry_possible=response)
    assert "retry/BOOK-789012" not in mail.text + mail.html
    assert "Try again" not in mail.text + mail.html


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "Refund amount: $30.00"),
        ({"refund_eligible": None}, "Refund amount: $30.00"),
        ({"refund_eligible": False}, "can't be refunded under the refund policy"),
        ({"refund_amount": None}, "A refund is due to you"),
        ({"refund_eligible": None, "refund_amount": None}, "If a refund is due to you"),
    ],
)
def test_a_cancellation_mail_states_the_refund_or_why_there_is_none(
    renderer: Renderer, changes: dict[str, Any], says: str
) -> None:
    mail = rendered(renderer, "booking_cancellation", **changes)
    assert says in mail.text
    assert says.removeprefix("Refund amount: ") in Page(mail.html).text


def test_a_booking_service_may_refund_without_our_ids(renderer: Renderer) -> None:
    mail = rendered(renderer, "payment_refund", "booking", refund_transaction_id=None)
    assert "Refund:" not in mail.text
    assert "TXN-456789" in mail.text


def test_a_booking_without_seats_has_no_seat_row(renderer: Renderer) -> None:
    assert "Seat:" not in rendered(renderer, "booking_confirmation", seats=[]).text


def test_the_support_address_is_shown_if_set() -> None:
    mail = rendered(
        Renderer(Brand("MovieApp", "t@example.com", support_email="help@movieapp.example.com"), "USD"),
        "payment_success",
    )
    assert "Write to help@movieapp.example.com" in mail.text
    assert "mailto:help@movieapp.example.com" in Page(mail.html).links


def test_an_event_cannot_override_our_variables(renderer: Renderer) -> None:
    mail = rendered(renderer, "payment_success", brand={"name": "Evil"}, subject="Evil", preheader="Evil")
    assert "Evil" not in mail.subject + mail.preheader + mail.text + mail.html


def test_html_templates_import_no_plain_text_macros() -> None:
    # Jinja trusts a macro's result in an escaping template, even if the macro was compiled without escaping.
    for file in files("email_templates").iterdir():
        if file.name.endswith(".mjml"):
            source = file.read_text("utf-8")
            assert ".txt" not in source
            assert not re.search(r"\|\s*safe|autoescape|Markup", source)


@pytest.mark.parametrize("locale", ["en", "ar"])
@pytest.mark.parametrize("template", TEMPLATES)
def test_separators_are_only_between_details(renderer: Renderer, template: str, locale: str) -> None:
    html = rendered(renderer, template, locale=locale).html
    tables = re.findall(r'<table class="detail".*?</table>', html, re.DOTALL)
    assert tables
    for table in tables:
        first, *others = re.findall(r"<tr>.*?</tr>", table, re.DOTALL)
        assert "border" not in first
        for row in others:
            assert row.count("border-top:1px solid") == row.count("<td")
        assert "border-bottom" not in table


@pytest.mark.parametrize(
    ("changes", "whole"),
    [
        ({}, "8:00 PM"),
        ({"timezone": None}, "UTC-05:00"),
        ({"showtime": "Friday at 9:15 PM"}, "9:15 PM"),
        ({"locale": "es-MX"}, "8:00 p.m."),
    ],
)
def test_a_time_of_day_stays_on_one_line(renderer: Renderer, changes: dict[str, Any], whole: str) -> None:
    mail = rendered(renderer, "booking_confirmation", **changes)
    assert f'<span style="white-space:nowrap">{whole}</span>' in mail.html
    assert whole in mail.text
    assert whole in Page(mail.html).text


def test_a_long_code_breaks_at_its_hyphens(renderer: Renderer) -> None:
    html = rendered(renderer, "booking_confirmation", "long").html
    (code,) = re.findall(r'<div class="value" dir="ltr"[^>]*>', html)
    assert "word-break:break-word" in code
