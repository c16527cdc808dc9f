"""From a transaction to the bodies of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, current_app, url_for

from app.errors import RefundNotAllowed
from app.payments import states

if TYPE_CHECKING:
    from app.models import Refund, Transaction
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
        return _ask_later(_json(body, 202), payment.id)
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


def refund_answer(payment: Transaction, refund: Refund) -> Response:
    """The answer to POST /payment/refund: 200 on its way, 202 not yet known.

    Raises:
        RefundNotAllowed: the gateway refused it.
    """
    if refund.status == states.FAILED:
        raise RefundNotAllowed(
            "The payment gateway refused this refund.",
            refund_transaction_id=refund.id,
            transaction_id=payment.id,
        )
    done = refund.status == states.COMPLETED
    body = {
        "status": "success" if done else states.PENDING,
        "refund_transaction_id": refund.id,
        "original_transaction_id": payment.id,
        "booking_id": payment.booking_id,
        "refund_amount": refund.amount,
        "currency": payment.currency,
        "processed_at": refund.processed_at,
        "message": "Refund processed successfully."
        if done
        else "The refund is being processed; ask for its status.",
    }
    if done:
        return _json(body)
    return _ask_later(_json(body, 202), refund.id)


def _ask_later(response: Response, transaction_id: str) -> Response:
    response.headers["Location"] = url_for("payments.status", transaction_id=transaction_id)
    response.headers["Retry-After"] = str(_PENDING_RETRY_AFTER)
    return response


def status_answer(payment: Transaction) -> dict[str, Any]:
    """The body of GET /payment/status/TXN-…."""
    body = {
        **_result(payment),
        "status": payment.status,
        "currency": payment.currency,
        "amount_refunded": payment.amount_refunded,
        "refunds": [_refund_status(refund) for refund in reversed(payment.refunds)],
        "created_at": payment.created_at,
        "processed_at": payment.processed_at,
    }
    if payment.disputes:
        body["disputes"] = [
            {"dispute_id": dispute.id, "status": dispute.status, "reason": dispute.reason}
            for dispute in payment.disputes
        ]
    if payment.status == states.FAILED:
        body |= {"error_code": payment.error_code, "error_message": payment.error_message}
    return body


def refund_status_answer(payment: Transaction, refund_id: str) -> dict[str, Any]:
    """The body of GET /payment/status/REF-…: a refund seen as a transaction."""
    refund = next(refund for refund in payment.refunds if refund.id == refund_id)
    return {
        **_result(payment),
        "transaction_id": refund.id,
        "original_transaction_id": payment.id,
        "status": refund.status,
        "amount": refund.amount,
        "currency": payment.currency,
        "amount_refunded": 0,
        "refunds": [],
        "created_at": refund.created_at,
        "processed_at": refund.processed_at,
    }


def _refund_status(refund: Refund) -> dict[str, Any]:
    return {
        "refund_transaction_id": refund.id,
        "status": refund.status,
        "refund_amount": refund.amount,
        "reason": refund.reason,
        "created_at": refund.created_at,
        "processed_at": refund.processed_at,
    }
