"""Endpoints that take, refund, cancel, and read payments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Response, jsonify, url_for

from app.api.auth import may, requires
from app.api.errors import ErrorEnvelope, error_examples
from app.api.examples import BOOKING_ID, TRANSACTION_ID, path_parameter
from app.api.idempotency import run_once
from app.api.requests import JSONBlueprint, refuse_card_numbers
from app.api.responses import (
    cancel_response,
    payment_body,
    payment_response,
    refund_body,
    refund_response,
)
from app.api.schemas import (
    PAYMENT_EXAMPLE,
    BookingPayments,
    CancelRequest,
    CancelResult,
    PaymentDeclined,
    PaymentMethods,
    PaymentOpen,
    PaymentRequest,
    PaymentStatusBody,
    PaymentSuccess,
    RefundRequest,
    RefundResult,
    one_of,
)
from app.ids import normalized_id
from app.payments import attempts
from app.payments.methods import payment_methods
from app.payments.states import PaymentStatus
from app.services import services

if TYPE_CHECKING:
    from app.payments.orders import CancelOrder, PaymentOrder, RefundOrder

blueprint = JSONBlueprint("payments", __name__, url_prefix="/payment", description="Payments and refunds")
blueprint.before_request(refuse_card_numbers)

#: Maximum number of payments that are listed for a booking.
_MAX_LISTED = 100

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "A unique key for this operation. A repeated request with the same key and body gets the "
    "first response again, and never charges twice. Keys are kept for 24 hours.",
}


_DECLINE = {
    "declined": {
        "value": {
            "status": "failed",
            "transaction_id": TRANSACTION_ID,
            "booking_id": BOOKING_ID,
            "amount": 25.5,
            "payment_method": "credit_card",
            "error_code": "INSUFFICIENT_FUNDS",
            "error_message": "Your card has insufficient funds. Please use another card.",
            "retry_possible": True,
            "processed_at": "2026-12-01T18:30:02.417Z",
        }
    }
}


@blueprint.route("/process", methods=["POST"])
@requires("payments:write")
@blueprint.doc(parameters=[_IDEMPOTENCY_KEY])
@blueprint.arguments(PaymentRequest, example=PAYMENT_EXAMPLE)
@blueprint.response(200, PaymentSuccess)
@blueprint.alt_response(202, schema=PaymentOpen)
@blueprint.alt_response(
    400, schema=one_of(PaymentDeclined, ErrorEnvelope), examples=_DECLINE | error_examples(400)
)
@blueprint.errors(401, 403, 409, 413, 415, 422, 429, 500, 502, 503)
def process(order: PaymentOrder) -> Response:
    """Take a payment for a booking.

    While a booking has an open or completed payment, another payment request gets 409.
    """
    with run_once("TXN-") as exchange:
        if exchange.response is None:
            exchange.response = payment_response(
                attempts.pay(services().payments, order, exchange.attempt, _result_page)
            )
    return exchange.sent


def _result_page(transaction_id: str) -> str:
    return services().settings.public_url + url_for("payment_page.result", transaction_id=transaction_id)


@blueprint.route("/refund", methods=["POST"])
@requires("refunds:write")
@blueprint.doc(parameters=[_IDEMPOTENCY_KEY])
@blueprint.arguments(RefundRequest)
@blueprint.response(200, RefundResult)
@blueprint.alt_response(202, schema=RefundResult)
@blueprint.errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503)
def refund(order: RefundOrder) -> Response:
    """Refund a payment in part or in full.

    Several partial refunds are allowed. The sum of the refunds never exceeds the payment.
    """
    with run_once("REF-") as exchange:
        if exchange.response is None:
            exchange.response = refund_response(
                *attempts.refund(services().payments, order, exchange.attempt)
            )
    return exchange.sent


@blueprint.route("/cancel", methods=["POST"])
@requires("payments:write")
@blueprint.doc(parameters=[_IDEMPOTENCY_KEY])
@blueprint.arguments(CancelRequest)
@blueprint.response(200, CancelResult)
@blueprint.errors(401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503)
def cancel(order: CancelOrder) -> Response:
    """Cancel a payment that waits for the customer. The booking can then be paid again."""
    with run_once("TXN-") as exchange:
        if exchange.response is None:
            exchange.response = cancel_response(services().payments.cancel(order))
    return exchange.sent


@blueprint.route(
    "/status/<string:transaction_id>",
    parameters=[path_parameter("transaction_id", TRANSACTION_ID)],
)
@requires("payments:read")
@blueprint.response(200, PaymentStatusBody)
@blueprint.errors(401, 403, 404, 422, 429, 500, 503)
def status(transaction_id: str) -> Response:
    """Return the state of a payment or refund. If a payment waits for the customer, look it up at Stripe."""
    payments = services().payments
    if transaction_id.startswith("REF-"):
        return jsonify(refund_body(*payments.books.get_refund(transaction_id)))
    payment = payments.books.get(transaction_id)
    if payment.status != PaymentStatus.REQUIRES_ACTION:
        return jsonify(payment_body(payment))
    result = payments.look_up(payment)
    return jsonify(payment_body(result.payment, result.action if may("payments:write") else None))


@blueprint.route("/booking/<path:booking_id>", parameters=[path_parameter("booking_id", BOOKING_ID)])
@requires("payments:read")
@blueprint.response(200, BookingPayments)
@blueprint.errors(401, 403, 422, 429, 500, 503)
def booking(booking_id: str) -> Response:
    """List the payments of a booking, newest first (at most 100)."""
    found = services().payments.books.ledger.search(_MAX_LISTED, booking_id=normalized_id(booking_id))
    return jsonify({"booking_id": booking_id, "transactions": [payment_body(payment) for payment in found]})


@blueprint.route("/methods")
@blueprint.response(200, PaymentMethods)
@blueprint.errors(422, 429)
def methods() -> Response:
    """List all payment methods, and whether each is enabled."""
    return jsonify({"payment_methods": payment_methods(services().settings)})
