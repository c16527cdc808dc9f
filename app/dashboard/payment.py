"""The page of one payment, and its actions: refund, cancel, settle."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from flask import flash, redirect, request, url_for
from werkzeug.exceptions import BadRequest

from app.clock import utcnow
from app.dashboard.access import MONEY, READ, access, operator
from app.dashboard.blueprint import blueprint, page, requires, settings
from app.dashboard.present import decimal_of
from app.dashboard.timeline import timeline
from app.errors import Problem, TransactionNotFound
from app.gateway import dashboard_url
from app.ids import new_id
from app.operations.audit import actions_on, record_action
from app.operations.records import notifications_of, payment_document
from app.payments.orders import RefundOrder
from app.payments.records import Payment
from app.payments.recovery import settle_listed
from app.payments.states import DISPUTE_CLOSED, REFUNDABLE, UNSETTLED, Actor, PaymentStatus
from app.services import services
from app.text import one_line

_REFUND_ID = re.compile(r"REF-[0-9a-f]{32}")

#: Maximum characters of a reason.
_REASON_LENGTH = 200


@blueprint.route("/payments/<transaction_id>")
@requires(READ)
def payment(transaction_id: str) -> str:
    """Show one payment: its amount, states, refunds, disputes, and notifications."""
    found = _document(transaction_id)
    deliveries = notifications_of(found.get("booking_id"))
    actions = actions_on([str(found["_id"])])
    gateway_id = found.get("gateway_id")
    live = settings().is_gateway_live
    return page(
        "payment",
        payment=found,
        story=timeline(found, deliveries, actions),
        deliveries=deliveries,
        gateway_url=dashboard_url(gateway_id, live=live) if isinstance(gateway_id, str) else None,
        live=live,
        actions=_possible(found),
        refundable=_refundable(found),
        open_disputes=[each for each in found.get("disputes") or () if _is_open(each)],
    )


@blueprint.route("/payments/<transaction_id>/confirm", methods=["POST"])
@requires(MONEY)
def confirm_payment(transaction_id: str) -> str:
    """Ask for confirmation, and repeat the amount."""
    access().check_form()
    found = _document(transaction_id)
    action = request.form.get("action", "")
    if action not in _possible(found):
        raise BadRequest("The payment's current status does not allow this action. Reload the payment.")
    amount = _amount(request.form.get("amount")) if action == "refund" else decimal_of(found.get("amount"))
    reason = _reason(request.form)
    if action == "refund" and not reason:
        raise BadRequest("The reason is missing. Enter a reason for the refund.")
    # The id is chosen here, so that sending the next form again makes no second refund.
    refund_id = new_id("REF-")
    return page(
        "confirm_payment", payment=found, action=action, amount=amount, reason=reason, refund_id=refund_id
    )


@blueprint.route("/payments/<transaction_id>/act", methods=["POST"])
@requires(MONEY)
def act_on_payment(transaction_id: str) -> Any:
    """Refund, cancel, or settle a payment."""
    access().check_form()
    found = services().payments.books.get(transaction_id)
    act = _ACTS.get(request.form.get("action", ""))
    if act is None:
        raise BadRequest("The action is unknown. Go back to the payment and choose another action.")
    try:
        flash(act(found, request.form))
    except Problem as problem:
        flash(problem.message, "bad")
    return redirect(url_for("dashboard.payment", transaction_id=transaction_id))


def _refund(payment: Payment, form: Mapping[str, str]) -> str:
    refund_id = form.get("refund_id", "")
    if not _REFUND_ID.fullmatch(refund_id):
        raise BadRequest("The refund id is missing or invalid. Go back to the payment and start again.")
    amount = _amount(form.get("amount"))
    reason = _reason(form) or "operator"
    details = {"amount": amount, "currency": payment.currency, "refund": refund_id}
    record_action(operator(), "payments.refund", payment.id, details)
    order = RefundOrder(payment.id, payment.booking_id, payment.user_id, reason, amount)
    payment, refund = services().payments.refunds.refund(order, refund_id)
    shown = f"{refund.amount:,} {payment.currency}"
    return f"{shown} refunded." if not refund.pending else f"The refund of {shown} is pending."


def _refund_stray(payment: Payment, _form: Mapping[str, str]) -> str:
    details = {"amount": payment.refundable, "currency": payment.currency, "charge": payment.stray_charge}
    record_action(operator(), "payments.refund_stray", payment.id, details)
    payment = services().payments.refunds.refund_stray(payment, Actor.OPERATOR)
    return "The charge is refunded." if payment.stray_charge is None else "The refund is pending."


def _cancel(payment: Payment, form: Mapping[str, str]) -> str:
    reason = _reason(form) or None
    record_action(operator(), "payments.cancel", payment.id, {"reason": reason})
    services().payments.cancel_payment(payment, Actor.OPERATOR, reason)
    return "Canceled. Nothing was charged."


def _settle(payment: Payment, _form: Mapping[str, str]) -> str:
    record_action(operator(), "payments.settle", payment.id)
    side, before = services().payments, payment.status
    if payment.gateway_id is None:
        found = settle_listed(side, payment, Actor.OPERATOR)
        if found is None:
            return _not_listed(payment)
        payment = found
    else:
        payment = side.settle(payment, Actor.OPERATOR).payment
    payment = side.refunds.synchronize(payment, Actor.OPERATOR)
    return f"The gateway reports the status {payment.status.replace('_', ' ')}." + (
        " Nothing changed." if payment.status == before else ""
    )


def _not_listed(payment: Payment) -> str:
    due = payment.recover_after
    at = f"at {due.astimezone(settings().operators_zone):%H:%M:%S}" if due and due > utcnow() else "shortly"
    return (
        f"The gateway does not list this payment. A worker looks again {at}. If the request never reached "
        "the gateway, the payment then fails, and nothing is charged later."
    )


#: Action → its function, which returns the message for the operator.
_ACTS: dict[str, Callable[[Payment, Mapping[str, str]], str]] = {
    "refund": _refund,
    "refund_stray": _refund_stray,
    "cancel": _cancel,
    "settle": _settle,
}


def _possible(found: Mapping[str, Any]) -> list[str]:
    """Return the actions that the payment's state allows."""
    status = found.get("status")
    disputed = any(_is_open(each) or each.get("status") == "lost" for each in found.get("disputes") or ())
    pending = any(each.get("status") == "pending" for each in found.get("refunds") or ())
    allowed = {
        "refund": status in REFUNDABLE and _refundable(found) > 0 and not disputed,
        "refund_stray": bool(found.get("stray_charge")),
        "cancel": status == PaymentStatus.REQUIRES_ACTION,
        "settle": status in UNSETTLED or pending,
    }
    return [action for action, possible in allowed.items() if possible]


def _refundable(found: Mapping[str, Any]) -> Decimal:
    amount = decimal_of(found.get("amount")) or Decimal(0)
    return amount - (decimal_of(found.get("refund_reserved")) or Decimal(0))


def _is_open(dispute: Mapping[str, Any]) -> bool:
    return dispute.get("status") not in DISPUTE_CLOSED


def _amount(text: str | None) -> Decimal:
    try:
        amount = Decimal((text or "").strip())
    except InvalidOperation:
        raise BadRequest("The amount must be a number, such as 12.50.") from None
    if not amount.is_finite() or amount <= 0 or abs(amount) > Decimal(10) ** 12:
        raise BadRequest("The amount must be greater than 0 and at most 1,000,000,000,000.")
    return amount


def _reason(form: Mapping[str, str]) -> str:
    """Return the reason on one line; "" if it has no visible character."""
    return one_line(form.get("reason", "").strip(), _REASON_LENGTH)


def _document(transaction_id: str) -> dict[str, Any]:
    found = payment_document(transaction_id[:128])
    if found is None:
        raise TransactionNotFound("No payment has this id.")
    return found
