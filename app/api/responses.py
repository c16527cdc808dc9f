"""Build response bodies from payments and refunds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Response, current_app, url_for

from app.payments.states import UNPAID, PaymentStatus, RefundStatus

if TYPE_CHECKING:
    from app.gateway import ActionRequired
    from app.payments.records import Dispute, Payment, Refund
    from app.payments.service import PaymentResult

#: Seconds after which a client should poll the status of a pending payment.
_RETRY_AFTER_SECONDS = 5

_MESSAGES = {
    PaymentStatus.REQUIRES_ACTION: "The customer has to confirm this payment.",
    PaymentStatus.PENDING: "The payment is being processed; ask for its status. Do not pay again.",
}


def _result(payment: Payment) -> dict[str, Any]:
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


def payment_response(result: PaymentResult) -> Response:
    """Return the response to POST /payment/process: 200 paid, 202 open, 400 failed or canceled."""
    payment = result.payment
    if payment.status in UNPAID:
        return _json(
            {
                "status": payment.status,
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
            body |= _action(result.action)
        return _with_retry_after(_json(body, 202), payment.id)
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


def refund_response(payment: Payment, refund: Refund) -> Response:
    """Return the response to POST /payment/refund: 200 refunded, 202 outcome not known yet."""
    done = refund.status == RefundStatus.COMPLETED
    body = {
        "status": "success" if done else "pending",
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
    return _with_retry_after(_json(body, 202), refund.id)


def cancel_response(payment: Payment) -> Response:
    """Return the response to POST /payment/cancel."""
    return _json(
        {
            "status": payment.status,
            **_result(payment),
            "currency": payment.currency,
            "processed_at": payment.processed_at,
            "message": "The payment was canceled. Nothing was charged.",
        }
    )


def _with_retry_after(response: Response, transaction_id: str) -> Response:
    response.headers["Location"] = url_for("payments.status", transaction_id=transaction_id)
    response.headers["Retry-After"] = str(_RETRY_AFTER_SECONDS)
    return response


def payment_body(payment: Payment, action: ActionRequired | None = None) -> dict[str, Any]:
    """Return the body of GET /payment/status/TXN-….

    Args:
        payment: as recorded.
        action: the customer's next step, for callers with `payments:write`.
    """
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
        body |= {"disputed": payment.disputed, "disputes": [_dispute(one) for one in payment.disputes]}
    if action:
        body |= _action(action)
    if payment.status == PaymentStatus.FAILED:
        body |= {"error_code": payment.error_code, "error_message": payment.error_message}
    return body


def refund_body(payment: Payment, refund: Refund) -> dict[str, Any]:
    """Return the body of GET /payment/status/REF-…: a refund seen as a transaction."""
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


def _dispute(dispute: Dispute) -> dict[str, Any]:
    return {
        "dispute_id": dispute.id,
        "status": dispute.status,
        "amount": dispute.amount,
        "reason": dispute.reason,
        "evidence_due_by": dispute.evidence_due_by,
    }


def _action(action: ActionRequired) -> dict[str, Any]:
    found = {"client_secret": action.client_secret, "redirect_url": action.redirect_url}
    return {name: value for name, value in found.items() if value is not None}
