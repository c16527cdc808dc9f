"""Taking a payment: record, charge, record the outcome, announce it. The order is the safety.

1. The pending record is written and claims the booking. If that fails, nothing is charged.
2. The gateway is asked, with the record's id as idempotency key.
3. The outcome and its event are written by one compare-and-set.
The process may die between any two steps: the record then says what to ask the gateway.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.clock import utcnow
from app.errors import GatewayError, InvalidAmount, InvalidRequest, ServiceUnavailable
from app.gateway import (
    KEY_REMEMBERED,
    ActionRequired,
    Charge,
    Charged,
    Declined,
    PaymentOutcome,
    Refused,
    StripeGateway,
    Unknown,
)
from app.models import Transaction
from app.money import from_minor, to_minor
from app.payments import ledger, states
from app.payments.cards import DEFAULT_TEST_PAYMENT_METHOD, check_card, payment_method_for
from app.payments.refunds import Refunds
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import OutboxEntry
    from app.payments.orders import PaymentOrder
    from app.settings import Settings

log = get_logger(__name__)

#: Beyond the gateway's time, for the writes before and after it.
_GRACE = timedelta(seconds=10)

_SHORTEST_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)

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
        self.refunds = Refunds(gateway, announce, self._recover_in)

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
        order = self._check(order)
        method = None if order.payment_method == "paypal" else self._card_for(order)
        payment = ledger.open_payment(order, transaction_id, method, actor="api", recover_in=self._recover_in)
        outcome = self._gateway.charge(_charge_of(payment))
        payment = self._record(payment, outcome, actor="api")
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

    def settle(self, payment: Transaction, *, actor: str) -> None:
        """Ask the gateway what became of an unsettled payment, and record it.

        Args:
            payment: as stored; read it again afterwards.
            actor: who asks: api or recovery.
        """
        if payment.status not in states.UNSETTLED:
            return
        if payment.gateway_id:
            outcome = self._gateway.retrieve(payment.gateway_id)
        elif utcnow() - payment.created_at < KEY_REMEMBERED:
            outcome = self._gateway.charge(_charge_of(payment), asked_before=True)
        else:
            outcome = self._gateway.find(payment.id, payment.created_at)
        before = payment.status
        after = self._record(payment, outcome, actor=actor).status
        if after != before:
            log.info("payment settled", transaction_id=payment.id, status=after, actor=actor)

    def recover_due(self, limit: int = 100) -> int:
        """Settle payments whose outcome should be known by now. Safe in many processes at once.

        Returns:
            How many were asked after.
        """
        now = utcnow()
        asked = 0
        for payment in Transaction.objects(recover_after__lt=now).order_by("recover_after").limit(limit):
            # The older it is, the less often: 1 minute to 1 hour.
            pause = min(max((now - payment.created_at) / 2, _SHORTEST_PAUSE), _LONGEST_PAUSE)
            mine = Transaction.objects(id=payment.id, recover_after=payment.recover_after)
            if mine.update_one(set__recover_after=now + pause):
                self._recover(payment, now + pause)
                asked += 1
        return asked

    def _recover(self, payment: Transaction, again: datetime) -> None:
        if payment.status in states.UNSETTLED:
            self.settle(payment, actor="recovery")
            return
        self.refunds.ask_again(payment, actor="recovery")
        if not any(refund.status == states.PENDING for refund in payment.refunds):
            # Unless a new refund has set another time meanwhile.
            Transaction.objects(id=payment.id, recover_after=again).update_one(unset__recover_after=True)

    @property
    def _recover_in(self) -> timedelta:
        """Until then the request that opened a payment may still be waiting for its answer."""
        return timedelta(seconds=self._settings.gateway_time_budget) + _GRACE

    def _check(self, order: PaymentOrder) -> PaymentOrder:
        """The order with currency and amount in canonical form."""
        if order.payment_method not in self._settings.payment_methods:
            raise InvalidRequest("This payment method is not enabled.", field="payment_method")
        if order.amount > self._settings.max_payment_amount:
            raise InvalidAmount(
                f"amount must be at most {self._settings.max_payment_amount}.", field="amount"
            )
        currency = order.currency or self._settings.default_currency
        amount = from_minor(to_minor(order.amount, currency), currency)
        return replace(order, currency=currency, amount=amount)

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

    def _record(self, payment: Transaction, outcome: PaymentOutcome, *, actor: str) -> Transaction:
        """Write what the gateway said. What can't be written now stays as it is, to be asked for again.

        Returns:
            The payment as it stands: also when a webhook or another process was faster.
        """
        move = _move_for(outcome)
        if move is None:
            log.warning("payment outcome unknown", transaction_id=payment.id, reason=str(outcome))
            return payment
        target, fields = move
        stored = payment.status
        if target == stored:
            return payment
        try:
            try:
                event = ledger.move(payment, target, actor=actor, **fields)
            except ledger.IllegalMove:
                # If this fails too, the charge was still made: nobody may be told that nothing was tried.
                return ledger.get(payment.id)
        except ServiceUnavailable as error:
            log.warning("payment outcome not recorded", transaction_id=payment.id, reason=str(error))
            payment.status = stored
            return payment
        if event:
            self._announce(payment.id, event)
        return payment


def _charge_of(payment: Transaction) -> Charge:
    """What to ask the gateway for; the same each time, for Stripe's idempotency compares."""
    return Charge(
        transaction_id=payment.id,
        minor_amount=to_minor(payment.amount, payment.currency),
        currency=payment.currency,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        payment_method=payment.gateway_method,
        return_url=payment.return_url,
        metadata=dict(payment.metadata),
    )


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
