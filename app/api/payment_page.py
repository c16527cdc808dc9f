"""GET /payment/return/…: the page that customers return to after a redirect if the shop has no
`return_url`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response, make_response, render_template, request

from app.errors import TransactionNotFound
from app.languages import Languages
from app.payments.states import PAID, UNSETTLED, PaymentStatus
from app.services import services

blueprint = Blueprint("payment_page", __name__, url_prefix="/payment/return", template_folder="templates")

#: Seconds after which the page of an open payment reloads.
_REFRESH_SECONDS = 3

#: The page is private to the customer and loads nothing from other origins.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True)
class _PageText:
    """The sentences of the page for one status."""

    title: str
    text: str


_OPEN = _PageText(
    "Your payment is being processed", "This page updates until we know more. Do not pay again."
)
_PAID = _PageText("Thank you, your payment has arrived", "You can close this page and return to the cinema.")
_FAILED = _PageText("The payment was not made", "Nothing was charged. Return to the cinema to try again.")
_CANCELED = _PageText("The payment was canceled", "Nothing was charged. Return to the cinema to try again.")
_UNKNOWN = _PageText("We do not know this payment", "Return to the cinema and look at your booking there.")

_LANGUAGES = Languages()


def sentences() -> Iterator[str]:
    """Return every English sentence of the page, as keys of the translation catalogs."""
    for words in (_OPEN, _PAID, _FAILED, _CANCELED, _UNKNOWN):
        yield from (words.title, words.text)


@blueprint.get("/<string:transaction_id>")
def result(transaction_id: str) -> Response:
    """Show the status of a payment, and nothing else, to anyone who knows its unguessable id."""
    payments = services().payments
    try:
        payment = payments.look_up(payments.books.get(transaction_id)).payment
    except TransactionNotFound:
        return _page(_UNKNOWN, status=404)
    locale = str(payment.contact.get("locale") or "")
    if payment.status in UNSETTLED:
        return _page(_OPEN, locale, refresh_seconds=_REFRESH_SECONDS)
    if payment.status in PAID:
        return _page(_PAID, locale)
    return _page(_CANCELED if payment.status == PaymentStatus.CANCELED else _FAILED, locale)


def _page(
    words: _PageText, locale: str = "", *, status: int = 200, refresh_seconds: int | None = None
) -> Response:
    """Render the page in the payment's `locale`, else in a language that the browser accepts."""
    language = _LANGUAGES.first_of([locale, *request.accept_languages.values()])
    said = _PageText(language.gettext(words.title), language.gettext(words.text))
    html = render_template(
        "payment_result.html", words=said, language=language, refresh_seconds=refresh_seconds
    )
    response = make_response(html, status)
    response.headers.update(_HEADERS)
    response.headers["Content-Language"] = language.code
    response.vary.add("Accept-Language")
    return response
