"""From a transaction to the bodies of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, current_app, url_for

from app.clock import iso
from app.payments import states

if TYPE_CHECKING:
    from app.models import Transaction
    from app.payments.service import PaymentResult

#: Seconds after which a client should ask for a pending payment's status.
_PENDING_RETRY_AFTER = 5

_MESSAGES = {
    states.REQUIRES_ACTION: "The customer has to confirm this payment.",
    states.PENDING: "The payment is being processed; ask for its status. Do not pay again.",
}


def _result(payment: Transaction) -> dict[str, Any]:
    return {
        "transaction_id": payment.id,
        "booking_id": payment.booking_id,
        "amount": payment.amount,
        "payment_method": payment.payment_method,
    }


def _json(body: dict[str, Any], status: int = 200) -> Response:
    filled = {name: value for name, value in body.items() if value is not None}
    return current_app.response_class(
        current_app.json.dumps(filled), status=status, mimetype="application/json"
    )


def payment_answer(result: PaymentResult) -> Response:
    """The answer to POST /payment/process: 200 paid, 202 open, 400 declined."""
    payment = result.payment
    if payment.status == states.FAILED:
        return _json(
            {
                "status": "failed",
                **_result(payment),
                "error_code": payment.error_code,
                "error_message": payment.error_message,
                "retry_possible": payment.retry_possible,
                "processed_at": payment.processed_at,
            },
            400,
        )
    if payment.status in _MESSAGES:
        body = {
            "status": payment.status,
            **_result(payment),
            "currency": payment.currency,
            "message": _MESSAGES[payment.status],
        }
        if result.action:
            body |= {"client_secret": result.action.client_secret, "redirect_url": result.action.redirect_url}
        response = _json(body, 202)
        response.headers["Location"] = url_for("payments.status", transaction_id=payment.id)
        response.headers["Retry-After"] = str(_PENDING_RETRY_AFTER)
        return response
    return _json(
        {
            "status": "success",
            **_result(payment),
            "currency": payment.currency,
            "card_brand": payment.card_brand,
            "card_last_four": payment.card_last_four,
            "processed_at": payment.processed_at,
            "message": "Payment processed successfully.",
        }
    )


def status_answer(payment: Transaction) -> dict[str, Any]:
    """The body of GET /payment/status/{id}."""
    body = {
        **_result(payment),
        "status": payment.status,
        "currency": payment.currency,
        "amount_refunded": 0,
        "refunds": [],
        "created_at": iso(payment.created_at),
        "processed_at": iso(payment.processed_at) if payment.processed_at else None,
    }
    if payment.status == states.FAILED:
        body |= {"error_code": payment.error_code, "error_message": payment.error_message}
    return body
