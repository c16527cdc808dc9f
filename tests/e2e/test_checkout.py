"""The checkout page of `movieapp dev`, used by a customer in Chromium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.dev import Dev
from tests.support.mail_browser import violations

#: Timeout of a page step in milliseconds, for a loaded machine.
STEP_TIMEOUT_MS = 60_000


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("dev"))
    try:
        running.wait_until_healthy()
        yield running
        running.stop()
    finally:
        running.close()


@pytest.fixture
def page(dev: Dev, browser: Browser) -> Iterator[Page]:
    """The page of an order that waits for payment."""
    with browser.new_context() as context:
        page = context.new_page()
        page.set_default_timeout(STEP_TIMEOUT_MS)
        page.goto(f"http://localhost:{dev.port}/dev/checkout")
        assert violations(page, whole_page=True) == []
        page.get_by_role("button", name="Check out").click()
        shows(page, "Choose how to pay.")
        yield page


def shows(page: Page, text: str) -> None:
    expect(page.get_by_role("status")).to_have_text(text, timeout=STEP_TIMEOUT_MS)


def pay_with(page: Page, label: str) -> None:
    options = page.get_by_label("Pay with").locator("option").all_inner_texts()
    (option,) = [option for option in options if option.startswith(label)]
    page.get_by_label("Pay with").select_option(label=option)
    page.get_by_role("button", name="Pay", exact=True).click()


def test_a_card_pays(page: Page) -> None:
    assert violations(page, whole_page=True) == []
    pay_with(page, "Visa, pays")
    shows(page, "Paid.")


@pytest.mark.parametrize("label", ["Visa, asks for 3-D Secure", "PayPal"])
def test_the_customer_approves_at_the_bank_or_at_paypal(page: Page, label: str) -> None:
    pay_with(page, label)
    page.get_by_role("button", name="Approve").click()
    shows(page, "Paid.")


@pytest.mark.parametrize("label", ["Visa, asks for 3-D Secure", "PayPal"])
def test_after_a_cancel_at_the_bank_or_at_paypal_another_card_pays(page: Page, label: str) -> None:
    pay_with(page, label)
    page.get_by_role("button", name="Cancel").click()
    shows(page, "The payment was not confirmed. Choose how to pay.")
    pay_with(page, "Visa, pays")
    shows(page, "Paid.")


def test_after_a_decline_another_card_pays(page: Page) -> None:
    pay_with(page, "Visa, insufficient funds")
    shows(page, "Your card has insufficient funds.")
    pay_with(page, "Visa, pays")
    shows(page, "Paid.")


def test_a_canceled_payment_charges_nothing_and_frees_the_booking(page: Page) -> None:
    page.get_by_role("button", name="Cancel").click()
    shows(page, "The payment is canceled. Nothing was charged.")
