"""GET /payment/return/…: the page that a customer comes back to after a redirect, if the shop names none."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, make_response, render_template

from app.errors import TransactionNotFound
from app.payments.states import PAID, UNSETTLED, PaymentStatus
from app.services import services

blueprint = Blueprint("payment_page", __name__, url_prefix="/payment/return", template_folder="templates")

#: How often the page of an open payment loads itself again.
_REFRESH_SECONDS = 3

#: The page is for the customer alone, and nothing on it comes from elsewhere.
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True)
class _Words:
    """What the page says."""

    title: str
    text: str


_OPEN = _Words("Your payment is being processed", "This page updates until we know more. Do not pay again.")
_PAID = _Words("Thank you, your payment has arrived", "You can close this page and return to the cinema.")
_FAILED = _Words("The payment was not made", "Nothing was charged. Return to the cinema to try again.")
_CANCELED = _Words("The payment was canceled", "Nothing was charged. Return to the cinema to try again.")
_UNKNOWN = _Words("We do not know this payment", "Return to the cinema and look at your booking there.")


@blueprint.get("/<string:transaction_id>")
def result(transaction_id: str) -> Response:
    """Show what became of a payment. Whoever knows its unguessable id may see that, and nothing else."""
    payments = services().payments
    try:
        payment = payments.look_up(payments.books.get(transaction_id)).payment
    except TransactionNotFound:
        return _page(_UNKNOWN, status=404)
    if payment.status in UNSETTLED:
        return _page(_OPEN, refresh_seconds=_REFRESH_SECONDS)
    if payment.status in PAID:
        return _page(_PAID)
    return _page(_CANCELED if payment.status == PaymentStatus.CANCELED else _FAILED)


def _page(words: _Words, *, status: int = 200, refresh_seconds: int | None = None) -> Response:
    html = render_template("payment_result.html", words=words, refresh_seconds=refresh_seconds)
    response = make_response(html, status)
    response.headers.update(_HEADERS)
    return response
