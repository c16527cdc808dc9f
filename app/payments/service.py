"""Taking a payment: record, charge, record the outcome, announce it. The order is the safety.

1. The pending record is written and claims the booking. If that fails, nothing is charged.
2. The gateway is asked, with the record's id as idempotency key.
3. The outcome and its event are written by one compare-and-set.
The process may die between any two steps: the record then says what to ask the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from app.clock import utcnow
from app.errors import GatewayError, InvalidAmount, InvalidRequest, ServiceUnavailable
from app.gateway import (
    ActionRequired,
    Charge,
    Charged,
    Declined,
    PaymentOutcome,
    Refused,
    StripeGateway,
    Unknown,
)
from app.money import from_minor, to_minor
from app.payments import ledger, states
from app.payments.cards import DEFAULT_TEST_PAYMENT_METHOD, check_card, payment_method_for
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import OutboxEntry, Transaction
    from app.payments.orders import PaymentOrder
    from app.settings import Settings

log = get_logger(__name__)

Announce = Callable[[str, "OutboxEntry"], None]


@dataclass(frozen=True)
class PaymentResult:
    """A payment as recorded and, if the customer has to act, what for."""

    payment: Transaction
    action: ActionRequired | None = None


class Payments:
    """The payment side, whole: what the API calls.

    Args:
        settings: limits, enabled methods, live or test mode.
        gateway: charges cards.
        announce: called with a transaction's id and its new outbox entry, once both are stored.
    """

    def __init__(self, settings: Settings, gateway: StripeGateway, announce: Announce) -> None:
        self._settings = settings
        self._gateway = gateway
        self._announce = announce

    def pay(self, order: PaymentOrder, transaction_id: str) -> PaymentResult:
        """Take a payment.

        Args:
            order: what to charge; its form has been checked, its content is checked here.
            transaction_id: the id to give it, new.

        Returns:
            The payment as recorded: completed, failed, waiting for the customer, or still pending when the
            gateway's answer never came.

        Raises:
            InvalidAmount, InvalidCard, CardExpired, InvalidRequest: refused before any call.
            DuplicateTransaction: the booking has a payment.
            GatewayError: the gateway would not work; surely nothing was charged.
            ServiceUnavailable: not recorded, so nothing was tried.
        """
        order, charge = self._check(order, transaction_id)
        payment = ledger.open_payment(order, transaction_id, actor="api")
        outcome = self._gateway.charge(charge)
        self._record(payment, outcome, actor="api")
        log.info(
            "payment processed",
            transaction_id=payment.id,
            booking_id=payment.booking_id,
            user_id=payment.user_id,
            amount=str(payment.amount),
            currency=payment.currency,
            status=payment.status,
            error_code=payment.error_code,
        )
        if isinstance(outcome, Refused):
            if outcome.bad_amount:
                raise InvalidAmount(
                    "The payment gateway does not take this amount.", transaction_id=payment.id
                )
            raise GatewayError(
                "The payment gateway did not work. Nothing was charged; please try again soon.",
                transaction_id=payment.id,
            )
        if isinstance(outcome, ActionRequired) and payment.status == states.REQUIRES_ACTION:
            return PaymentResult(payment, outcome)
        return PaymentResult(payment)

    def _check(self, order: PaymentOrder, transaction_id: str) -> tuple[PaymentOrder, Charge]:
        """The order with currency and amount in canonical form, and the charge it means."""
        if order.payment_method not in self._settings.payment_methods:
            raise InvalidRequest("This payment method is not enabled.", field="payment_method")
        if order.amount > self._settings.max_payment_amount:
            raise InvalidAmount(
                f"amount must be at most {self._settings.max_payment_amount}.", field="amount"
            )
        currency = order.currency or self._settings.default_currency
        minor = to_minor(order.amount, currency)
        charge = Charge(
            transaction_id=transaction_id,
            minor_amount=minor,
            currency=currency,
            booking_id=order.booking_id,
            user_id=order.user_id,
            payment_method=None if order.payment_method == "paypal" else self._card_for(order),
            return_url=order.return_url,
            metadata=order.metadata,
        )
        return replace(order, currency=currency, amount=from_minor(minor, currency)), charge

    def _card_for(self, order: PaymentOrder) -> str:
        live = self._settings.gateway_live
        if order.payment_token:
            return order.payment_token
        if order.card:
            check_card(order.card, utcnow())
            return payment_method_for(order.card, live=live)
        if live:
            raise InvalidRequest("A payment_token (pm_…) is required.", field="payment_token")
        return DEFAULT_TEST_PAYMENT_METHOD

    def _record(self, payment: Transaction, outcome: PaymentOutcome, *, actor: str) -> None:
        """Write what the gateway said. What can't be written now stays pending, to be asked for again."""
        move = _move_for(outcome)
        if move is None:
            log.warning("payment outcome unknown", transaction_id=payment.id, reason=str(outcome))
            return
        target, fields = move
        try:
            event = ledger.move(payment, target, actor=actor, **fields)
        except (ServiceUnavailable, ledger.IllegalMove) as error:
            log.warning("payment outcome not recorded", transaction_id=payment.id, reason=str(error))
            payment.status = states.PENDING
            return
        if event:
            self._announce(payment.id, event)


def _move_for(outcome: PaymentOutcome) -> tuple[str, dict[str, Any]] | None:
    """The state an outcome leads to and the fields to store with it; None where nothing is known."""
    match outcome:
        case Charged():
            return states.COMPLETED, {
                "gateway_id": outcome.gateway_id,
                "card_brand": outcome.card_brand,
                "card_last_four": outcome.card_last_four,
            }
        case ActionRequired():
            return states.REQUIRES_ACTION, {"gateway_id": outcome.gateway_id}
        case Declined(decline, gateway_id):
            return states.FAILED, {
                "gateway_id": gateway_id,
                "error_code": decline.code,
                "error_message": decline.message,
                "retry_possible": decline.retry_possible,
            }
        case Refused():
            return states.FAILED, {
                "error_code": "INVALID_AMOUNT" if outcome.bad_amount else "PAYMENT_GATEWAY_ERROR",
                "error_message": "The payment could not be made. Nothing was charged.",
                "retry_possible": True,
            }
        case Unknown():
            return None
