"""Start payments and refunds under an Idempotency-Key, or resume an earlier attempt."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from app.errors import GatewayError
from app.ids import new_id
from app.payments.refunds import RefundNotCarriedOut
from app.payments.states import PaymentStatus

if TYPE_CHECKING:
    from app.idempotency import Attempt
    from app.payments.orders import PaymentOrder, RefundOrder
    from app.payments.records import Payment, Refund
    from app.payments.service import PaymentResult, Payments


def pay(
    payments: Payments, order: PaymentOrder, attempt: Attempt, result_page: Callable[[str], str]
) -> PaymentResult:
    """Take a payment.

    Args:
        payments: the payment service.
        order: see `Payments.pay`.
        attempt: has the payment's id.
        result_page: a payment's id → the URL of our page that shows its result.

    Raises:
        Problem: see `Payments.pay` and `Payments.resume`.
    """
    if attempt.resumed:
        payment = payments.books.ledger.find(attempt.transaction_id)
        if payment is None:
            payments.rule_out(order, attempt.transaction_id)
        else:
            result = payments.resume(payment)
            if not _was_refused(result.payment):
                return result
        attempt.restart(new_id("TXN-"))
    if order.payment_method == "paypal" and not order.return_url:
        order = replace(order, return_url=result_page(attempt.transaction_id))
    return payments.pay(order, attempt.transaction_id)


def _was_refused(payment: Payment) -> bool:
    """Return whether a payment ended without a final response, so that the caller may start again."""
    return payment.status == PaymentStatus.FAILED and payment.error_code == GatewayError.code


def refund(payments: Payments, order: RefundOrder, attempt: Attempt) -> tuple[Payment, Refund]:
    """Refund a payment.

    Args:
        payments: the payment service.
        order: see `Refunds.refund`.
        attempt: has the refund's id.

    Raises:
        Problem: see `Refunds.refund` and `Refunds.resume`.
    """
    if attempt.resumed:
        payment = payments.books.ledger.find_by_refund(attempt.transaction_id)
        if payment is None:
            payments.refunds.rule_out(order, attempt.transaction_id)
        else:
            with suppress(RefundNotCarriedOut):
                return payments.refunds.resume(payment, attempt.transaction_id)
        attempt.restart(new_id("REF-"))
    return payments.refunds.refund(order, attempt.transaction_id)
