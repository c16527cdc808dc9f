"""Every template with every sample: what people must find in a mail, and what must never be in one."""

import re
from importlib.resources import files
from typing import Any

import pytest
from page import Page

from actors.mail.render import TEMPLATES, Brand, Rendered, Renderer
from actors.mail.samples import sample, variants
from app.events.catalog import CATALOG, check_event

ALL = [(template, variant) for template in TEMPLATES for variant in variants(template)]

#: What both parts of a full sample's mail tell.
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
        "1 h 44 min",
        "BOOK-789012",
        "Tuesday, December 1, 2026",
        "$30.00",
        "Jane Doe",
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
        "There was not enough money available",
        "Insufficient funds",
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
        "Why it takes that long",
        "keep this email for your records",
    ],
}

#: Fields that a mail can't go without.
NEEDED = [
    ("booking_confirmation", "booking_id"),
    ("booking_confirmation", "movie_title"),
    ("booking_confirmation", "showtime"),
    ("booking_confirmation", "seats"),
    ("booking_confirmation", "total_amount"),
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


def rendered(renderer: Renderer, template: str, variant: str = "full", **changes: Any) -> Rendered:
    return renderer.render(template, sample(template, variant) | changes)


def test_every_event_has_a_template_and_every_template_its_samples() -> None:
    assert {kind.template for kind in CATALOG.values()} == set(TEMPLATES)
    for template in TEMPLATES:
        assert {"full", "minimal", "hostile"} <= set(variants(template))


@pytest.mark.parametrize(("template", "variant"), ALL)
def test_samples_are_events_of_their_template(template: str, variant: str) -> None:
    _, kind = check_event(sample(template, variant))
    assert kind.template == template


@pytest.mark.parametrize("template", TEMPLATES)
def test_both_parts_tell_every_fact(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template)
    page = Page(mail.html)
    for fact in FACTS[template]:
        assert fact in mail.text
        assert fact in page.links or fact in page.text


@pytest.mark.parametrize(("template", "variant"), ALL)
def test_subject_and_preheader_fit_a_list_of_mails(renderer: Renderer, template: str, variant: str) -> None:
    mail = rendered(renderer, template, variant)
    assert 10 <= len(mail.subject) <= 140
    assert 40 <= len(mail.preheader) <= 130
    assert mail.subject.isprintable()
    assert mail.preheader.isprintable()
    assert Page(mail.html).title == mail.subject
    assert mail.preheader in Page(mail.html).text


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_absent_leaves_no_hole(renderer: Renderer, template: str) -> None:
    mail = rendered(renderer, template, "minimal")
    page = Page(mail.html)
    for words in (mail.text, page.text, mail.subject, mail.preheader):
        assert not re.search(r"None|null|undefined|\(\)|\[\]", words)
    assert page.cells
    assert all(page.cells)
    # A label or a heading is never followed by nothing.
    assert not re.search(r"^[^\n]*:\s*$\n\s*(\n|$)", mail.text, re.MULTILINE)
    assert "\n\n\n" not in mail.text
    assert "  " not in mail.text


@pytest.mark.parametrize(("template", "variable"), NEEDED)
@pytest.mark.parametrize("value", [None, " \n"])
def test_null_and_blank_are_absent(
    renderer: Renderer, template: str, variable: str, value: str | None
) -> None:
    if variable == "seats":
        value = None
    if value and "amount" in variable:
        pytest.skip("a blank is no amount of money, which is told as such")
    from actors.mail.errors import TemplateVariableMissing

    with pytest.raises(
        TemplateVariableMissing, match=f"template {template}: .* {variable} is missing"
    ) as raised:
        rendered(renderer, template, **{variable: value})
    assert (raised.value.template, raised.value.variable) == (template, variable)
