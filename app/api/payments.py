"""POST /payment/process, and what one can ask about payments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from flask import Response, jsonify, request, url_for

from app.api.answers import payment_answer, refund_answer, refund_status_answer, status_answer
from app.api.auth import caller, requires
from app.api.errors import ErrorEnvelope, error_examples, error_response
from app.api.idempotency import answer_once
from app.api.requests import JSONBlueprint, normalized_id, refuse_card_numbers
from app.api.schemas import (
    BookingPayments,
    PaymentDeclined,
    PaymentMethods,
    PaymentOpen,
    PaymentRequest,
    PaymentStatus,
    PaymentSuccess,
    RefundRequest,
    RefundResult,
    one_of,
)
from app.errors import Problem, ServiceUnavailable, TransactionNotFound
from app.ids import new_id
from app.payments import ledger, states
from app.payments.methods import payment_methods
from app.payments.service import PaymentResult, Payments
from app.services import services

if TYPE_CHECKING:
    from app.models import Refund, Transaction
    from app.payments.orders import PaymentOrder
    from app.payments.refunds import RefundOrder
    from app.settings import Settings

blueprint = JSONBlueprint("payments", __name__, url_prefix="/payment", description="Taking payments")
blueprint.before_request(refuse_card_numbers)

#: Payments of one booking that are listed.
_MOST_LISTED = 100

_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Same key and same body: the first answer again, and never a second charge; kept 24 h.",
}


_DECLINE = {
    "declined": {
        "value": {
            "status": "failed",
            "transaction_id": "TXN-5f0c…",
            "booking_id": "BOOK-123",
            "amount": 25.5,
            "payment_method": "credit_card",
            "error_code": "INSUFFICIENT_FUNDS",
            "error_message": "Your card has insufficient funds. Please use another card.",
            "retry_possible": True,
            "processed_at": "2026-12-01T18:30:02.417Z",
        }
    }
}


def _services() -> tuple[Settings, Payments]:
    return services().settings, services().payments


def _answer_once(prefix: str, answer: Callable[[str, bool], Response]) -> Response:
    """Answer the request once for its Idempotency-Key; also a refusal is an answer that is kept.

    Args:
        prefix: of the id that is made for the transaction.
        answer: called with that id, and whether an earlier try may have used it.
    """
    settings, _ = _services()

    def run(transaction_id: str, again: bool) -> Response:
        try:
            return answer(transaction_id, again)
        except ServiceUnavailable:
            raise  # nothing was tried, so there is nothing to keep
        except Problem as problem:
            return error_response(problem.code, problem.message, problem.details)

    return answer_once(request, settings, caller=caller(), new_id=new_id(prefix), run=run)


@blueprint.route("/process", methods=["POST"])
@requires("payments:write")
@blueprint.doc(parameters=[_IDEMPOTENCY_KEY])
@blueprint.arguments(PaymentRequest)
@blueprint.response(200, PaymentSuccess)
@blueprint.alt_response(202, schema=PaymentOpen)
@blueprint.alt_response(
    400, schema=one_of(PaymentDeclined, ErrorEnvelope), examples=_DECLINE | error_examples(400)
)
@blueprint.errors(401, 403, 409, 413, 415, 422, 429, 500, 502, 503)
def process(order: PaymentOrder) -> Response:
    """Take a payment for a booking.

    A booking is paid once: while a payment for it is open or completed, another one gets 409.
    """
    _, payments = _services()
    return _answer_once("TXN-", lambda new, again: payment_answer(_pay(payments, order, new, again)))


def _pay(payments: Payments, order: PaymentOrder, transaction_id: str, again: bool) -> PaymentResult:
    """Pay or, if an earlier try of the same request got as far as recording, tell what became of it."""
    if again:
        try:
            return payments.ask(ledger.get(transaction_id))
        except TransactionNotFound:
            pass
    if order.payment_method == "paypal" and not order.return_url:
        path = url_for("payments.status", transaction_id=transaction_id)
        order = replace(order, return_url=services().settings.public_url + path)
    return payments.pay(order, transaction_id)


@blueprint.route("/refund", methods=["POST"])
@requires("refunds:write")
@blueprint.doc(parameters=[_IDEMPOTENCY_KEY])
@blueprint.arguments(RefundRequest)
@blueprint.response(200, RefundResult)
@blueprint.alt_response(202, schema=RefundResult)
@blueprint.errors(400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 502, 503)
def refund(order: RefundOrder) -> Response:
    """Give money back, in part or all that is left.

    Several partial refunds are allowed; together they are never more than was paid.
    """
    _, payments = _services()
    return _answer_once("REF-", lambda new, again: refund_answer(*_refund(payments, order, new, again)))


def _refund(
    payments: Payments, order: RefundOrder, refund_id: str, again: bool
) -> tuple[Transaction, Refund]:
    """Refund or, if an earlier try of the same request got as far as recording, tell what became of it."""
    if again:
        try:
            payment = ledger.get_by_refund(refund_id)
        except TransactionNotFound:
            pass
        else:
            return payment, next(refund for refund in payment.refunds if refund.id == refund_id)
    return payments.refunds.refund(order, refund_id)


@blueprint.route("/status/<string:transaction_id>")
@requires("payments:read")
@blueprint.response(200, PaymentStatus)
@blueprint.errors(401, 403, 404, 422, 500, 503)
def status(transaction_id: str) -> Response:
    """What is known about a payment. While the customer has to act, the gateway is asked."""
    _, payments = _services()
    if transaction_id.startswith("REF-"):
        return jsonify(refund_status_answer(ledger.get_by_refund(transaction_id), transaction_id))
    payment = ledger.get(transaction_id)
    if payment.status == states.REQUIRES_ACTION:
        payment = payments.ask(payment).payment
    return jsonify(status_answer(payment))


@blueprint.route("/booking/<path:booking_id>")
@requires("payments:read")
@blueprint.response(200, BookingPayments)
@blueprint.errors(401, 403, 422, 500, 503)
def booking(booking_id: str) -> Response:
    """All payments of a booking, newest first: what a frontend asks after it lost an answer."""
    found = [
        status_answer(payment)
        for payment in ledger.search(_MOST_LISTED, booking_id=normalized_id(booking_id))
    ]
    return jsonify({"booking_id": booking_id, "transactions": found})


@blueprint.route("/methods")
@blueprint.response(200, PaymentMethods)
@blueprint.errors(422)
def methods() -> Response:
    """The ways to pay, and which of them are enabled."""
    settings, _ = _services()
    return jsonify({"payment_methods": payment_methods(settings)})
