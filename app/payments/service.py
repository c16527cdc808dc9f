"""Taking a payment: record, charge, record the outcome, announce it. The order is the safety.

1. The pending record is written and claims the booking. If that fails, nothing is charged.
2. The gateway is asked, with the record's id as idempotency key.
3. The outcome and its event are written by one compare-and-set.
The process may die between any two steps: the record then says what to ask the gateway.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from app import declines
from app.clock import utcnow
from app.errors import (
    CardExpired,
    GatewayError,
    InvalidAmount,
    InvalidCard,
    InvalidRequest,
    ServiceUnavailable,
)
from app.gateway import (
    KEY_LIFETIME,
    ActionRequired,
    Canceled,
    CardDetails,
    Charge,
    Charged,
    Declined,
    Gateway,
    GatewayEvent,
    GatewayPayment,
    GatewayUnavailable,
    PaymentOutcome,
    Refused,
    Unknown,
)
from app.models import Transaction
from app.money import canonical_amount
from app.payments import ledger, states
from app.payments.cards import check_card
from app.payments.refunds import Refunds
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.orders import PaymentOrder
    from app.settings import Settings

log = get_logger(__name__)

#: Beyond the gateway's time, for the writes before and after it.
_GRACE = timedelta(seconds=10)

#: How far the gateway's clock may be behind ours, and how long a charge may take to reach the gateway.
_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST_CALL = timedelta(hours=1)

#: Called with a booking whose payments have something new to announce.
Announce = Callable[[str], None]


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
        announce: called with the booking's id once an event is stored.
    """

    def __init__(self, settings: Settings, gateway: Gateway, announce: Announce) -> None:
        self._settings = settings
        self._gateway = gateway
        self._announce = announce
        self.refunds = Refunds(gateway, announce, self.recover_in)

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
        with self._gateway.admitted():
            method = None if order.payment_method == "paypal" else self._card_for(order)
            payment = ledger.open_payment(
                order, transaction_id, method, actor="api", recover_in=self.recover_in
            )
            outcome = self._gateway.charge(_charge_of(payment))
        payment = self._record(payment, outcome, actor="api")
        # If the refusal could not be recorded, recovery will ask once more, and that may charge.
        if isinstance(outcome, Refused) and payment.status == states.FAILED:
            error = InvalidAmount if outcome.bad_amount else GatewayError
            raise error(_row_of(outcome).message, transaction_id=payment.id)
        return _result(payment, outcome)

    def settle(self, payment: Transaction, *, actor: str) -> PaymentResult:
        """Ask the gateway what became of an unsettled payment, and record it.

        Args:
            payment: as stored.
            actor: who asks: api, webhook, recovery or operator.
        """
        if payment.status not in states.UNSETTLED:
            return PaymentResult(payment)
        outcome = self._ask(payment)
        payment = self._record(payment, outcome, actor=actor)
        return _result(payment, outcome)

    def at_gateway(self, gateway_id: str) -> GatewayPayment | None:
        """See `Gateway.payment`."""
        return self._gateway.payment(gateway_id)

    def read_webhook(self, payload: bytes, signature: str) -> GatewayEvent:
        """See `Gateway.read_webhook`."""
        return self._gateway.read_webhook(payload, signature)

    def ask(self, payment: Transaction) -> PaymentResult:
        """Settle a payment for somebody who waits; as it stands if the gateway is too slow for that."""
        try:
            with self._gateway.admitted():
                return self.settle(payment, actor="api")
        except GatewayError:
            return PaymentResult(payment)

    def _ask(self, payment: Transaction) -> PaymentOutcome:
        """What became of a payment that was asked for before."""
        if not payment.gateway_id:
            if utcnow() - payment.created_at < KEY_LIFETIME:
                outcome = self._gateway.charge(_charge_of(payment))
                # Says nothing of the earlier request, which may have been carried out.
                transient = isinstance(outcome, Refused) and outcome.transient
                return Unknown("refused for now") if transient else outcome
            return self._find(payment)
        outcome = self._retrieve(payment.gateway_id)
        over = isinstance(outcome, ActionRequired) and utcnow() > payment.created_at + self._action_timeout
        if over or (isinstance(outcome, Declined) and payment.status == states.REQUIRES_ACTION):
            # The customer holds a secret with which the browser could confirm it again, and with another
            # card: once it counts as failed here, that would be a charge for a booking that is free again.
            try:
                return self._gateway.cancel(payment.gateway_id, abandoned=True).outcome
            except GatewayUnavailable as error:
                return Unknown(error.message, payment.gateway_id)
        return outcome

    def _retrieve(self, gateway_id: str) -> PaymentOutcome:
        try:
            made = self._gateway.payment(gateway_id)
        except GatewayUnavailable as error:
            return Unknown(error.message, gateway_id)
        return made.outcome if made else Unknown("the gateway does not have it", gateway_id)

    def _find(self, payment: Transaction) -> PaymentOutcome:
        """Look for a payment whose idempotency key the gateway may have forgotten, around its time."""
        since, until = payment.created_at - _CLOCK_SKEW, payment.created_at + _LONGEST_CALL
        try:
            for made in self._gateway.payments(since, until):
                if made.transaction_id == payment.id:
                    return made.outcome
        except GatewayUnavailable as error:
            return Unknown(error.message)
        return Refused("it never reached the gateway")

    @property
    def _action_timeout(self) -> timedelta:
        """How long a customer may take to confirm; nothing is charged after it."""
        return timedelta(minutes=self._settings.payment_action_timeout)

    @property
    def recover_in(self) -> timedelta:
        """For so long a call to the gateway, made by any process, may still be waiting for its answer."""
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
        return replace(order, currency=currency, amount=canonical_amount(order.amount, currency))

    def _card_for(self, order: PaymentOrder) -> str:
        """The PaymentMethod id that pays."""
        live = self._settings.gateway_live
        if order.payment_token:
            return order.payment_token
        if order.card is None:
            if live:
                raise InvalidRequest("A payment_token (pm_…) is required.", field="payment_token")
            return self._gateway.default_test_method
        if live and not self._settings.allow_raw_card_data:
            raise InvalidRequest(
                "Card numbers are not taken here. Send a payment_token (pm_…) made with Stripe.js.",
                field="payment_token",
            )
        check_card(order.card, utcnow())
        return self._tokenize(order.card) if live else self._gateway.test_method(order.card)

    def _tokenize(self, card: CardDetails) -> str:
        method = self._gateway.tokenize(card)
        match method:
            case Declined(decline):
                raise (CardExpired if decline.code == CardExpired.code else InvalidCard)(decline.message)
            case Refused():
                raise GatewayError(declines.GATEWAY_ERROR.message)
        return method

    def _record(self, payment: Transaction, outcome: PaymentOutcome, *, actor: str) -> Transaction:
        """Write what the gateway said. What can't be written now stays as it is, to be asked for again.

        Returns:
            The payment as it stands: also when a webhook or another process was faster.
        """
        move = _move_for(outcome)
        if move is None:
            reason = getattr(outcome, "reason", None)
            log.warning("payment outcome unknown", transaction_id=payment.id, reason=reason, actor=actor)
            return payment
        target, fields = move
        stored = payment.status
        if target == stored:
            return payment
        try:
            try:
                ledger.move(payment, target, actor=actor, **fields)
            except ledger.IllegalMove:
                # If this fails too, the charge was still made: nobody may be told that nothing was tried.
                return ledger.get(payment.id)
        except ServiceUnavailable as error:
            log.warning("payment outcome not recorded", transaction_id=payment.id, reason=str(error))
            payment.status = stored
            return payment
        _tell(payment, outcome, actor)
        if target in states.EMITS:
            self._announce(payment.booking_id)
        return payment


def _result(payment: Transaction, outcome: PaymentOutcome) -> PaymentResult:
    if isinstance(outcome, ActionRequired) and payment.status == states.REQUIRES_ACTION:
        return PaymentResult(payment, outcome)
    return PaymentResult(payment)


def _tell(payment: Transaction, outcome: PaymentOutcome, actor: str) -> None:
    """The one line for a payment: by whoever has recorded how it ended. That it waits is no end."""
    reason = outcome.reason if isinstance(outcome, Refused) else None
    level = logging.INFO if payment.status in states.FINAL else logging.DEBUG
    log.log(
        logging.WARNING if reason else level,
        "payment",
        transaction_id=payment.id,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        amount=str(payment.amount),
        currency=payment.currency,
        payment_method=payment.payment_method,
        status=payment.status,
        error_code=payment.error_code,
        reason=reason,
        actor=actor,
    )


def _row_of(outcome: Refused) -> declines.Decline:
    return declines.BAD_AMOUNT if outcome.bad_amount else declines.GATEWAY_ERROR


def _charge_of(payment: Transaction) -> Charge:
    """What to ask the gateway for; the same each time, for Stripe's idempotency compares."""
    return Charge(
        transaction_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        payment_method=payment.gateway_method,
        kind="card" if payment.gateway_method else "paypal",
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
            return states.FAILED, _failure(decline) | {"gateway_id": gateway_id}
        case Canceled(gateway_id, decline):
            return states.FAILED, _failure(decline) | {"gateway_id": gateway_id}
        case Refused():
            return states.FAILED, _failure(_row_of(outcome))
        case Unknown():
            return None


def _failure(decline: declines.Decline) -> dict[str, Any]:
    return {
        "error_code": decline.code,
        "error_message": decline.message,
        "retry_advice": decline.retry,
    }
