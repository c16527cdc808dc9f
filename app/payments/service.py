"""Taking a payment: record, charge, record the outcome, announce it. The order is the safety.

1. The pending record is written and claims the booking. If that fails, nothing is charged.
2. The gateway is asked, with the record's id as idempotency key.
3. The outcome and its event are written by one compare-and-set.
The process may die between any two steps. Recovery then looks up what the gateway did; it never charges.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app import declines
from app.abuse.attempts import Attempt, AttemptGuard, make_guard
from app.abuse.memory_store import MemoryStore
from app.clock import utcnow
from app.errors import (
    CancelNotAllowed,
    CardExpired,
    DuplicateTransaction,
    GatewayError,
    InvalidAmount,
    InvalidCard,
    InvalidRequest,
    ServiceUnavailable,
    TransactionNotFound,
)
from app.gateway import (
    ActionRequired,
    Canceled,
    CardDetails,
    Charge,
    Charged,
    ChargeKind,
    Declined,
    Gateway,
    GatewayPayment,
    PaymentOutcome,
    Refused,
    Share,
    Unknown,
    make_gateway,
)
from app.money import canonical_amount
from app.payments import changes
from app.payments.agreement import agrees
from app.payments.books import Announce, Books, announce_nothing
from app.payments.cards import check_card
from app.payments.ledger.mongo import MongoLedger
from app.payments.looks import RecentLooks
from app.payments.refunds import Refunds
from app.payments.states import UNPAID, UNSETTLED, Actor, PaymentStatus
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.payments.orders import CancelOrder, PaymentOrder
    from app.payments.records import Payment
    from app.settings import Settings

log = get_logger(__name__)

#: Beyond the gateway's time, for the writes before and after it.
_WRITES_TAKE = timedelta(seconds=10)

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

#: In major units of any currency; for currencies without a limit of their own.
_BEYOND_ANY_PRICE = 1_000_000_000

#: How often a booking may change hands while one request tries to replace its open payment.
_MAX_REPLACED = 3


@dataclass(frozen=True)
class PaymentResult:
    """A payment as recorded and, if the customer has to act, what for."""

    payment: Payment
    action: ActionRequired | None = None


class Payments:
    """The payment side, whole: what the API, the sweeps, and the commands call.

    Args:
        settings: limits, enabled methods, live or test mode.
        gateway: charges cards.
        books: where payments are kept.
        attempts: refuses attempts after too many declines; without one nothing is counted.
    """

    def __init__(
        self, settings: Settings, gateway: Gateway, books: Books, attempts: AttemptGuard | None = None
    ) -> None:
        self.settings = settings
        self.gateway = gateway
        self.books = books
        self.attempts = attempts or AttemptGuard(MemoryStore(), {})
        self._looks = RecentLooks()
        self.refunds = Refunds(self.books, gateway, self.recover_in)

    @property
    def recover_in(self) -> timedelta:
        """How long a call to the gateway, made by any process, may wait for its response."""
        return timedelta(seconds=self.settings.gateway_time_budget) + _WRITES_TAKE

    def pay(self, order: PaymentOrder, transaction_id: str) -> PaymentResult:
        """Take a payment.

        Args:
            order: what to charge; its form has been checked, its content is checked here.
            transaction_id: the id to give it, new.

        Returns:
            The payment as recorded: completed, failed, waiting for the customer, or still pending when the
            gateway's outcome is unknown.

        Raises:
            InvalidAmount, InvalidCard, CardExpired, InvalidRequest: refused before any call.
            DuplicateTransaction: the booking has a payment.
            TooManyAttempts: too many attempts were declined.
            GatewayError: the gateway refused to work; surely nothing was charged.
            ServiceUnavailable: not recorded, so nothing was tried.
        """
        order = self._check(order)
        with self.gateway.admitted(), self._attempt(order, transaction_id) as attempt:
            method = self._method_for(order)
            payment = self._open(order, transaction_id, method)
            outcome = self.gateway.charge(_charge_of(payment))
            if isinstance(outcome, Declined):
                outcome = replace(
                    outcome, decline=attempt.declined(outcome.decline, outcome.card_fingerprint)
                )
            elif isinstance(outcome, Charged):
                attempt.paid()
            return self._recorded(payment, outcome)

    def rule_out(self, order: PaymentOrder, transaction_id: str) -> None:
        """Prevent that an attempt which left no record charges after all: it may only be slow, and go on.

        Args:
            order: what it would charge.
            transaction_id: the id that it has.

        Raises:
            GatewayError: it is being carried out, or the gateway did not answer.
        """
        order = self._check(order)
        with self.gateway.admitted():
            if not self.gateway.seal(transaction_id, order.amount, order.currency or ""):
                raise GatewayError("An earlier attempt of this request is being carried out.")

    def resume(self, payment: Payment) -> PaymentResult:
        """Go on with a payment that an earlier attempt of the same request has recorded.

        The customer is there, so that this may charge: under the same idempotency key, which the gateway
        carries out once. An outcome that another process records meanwhile stands.

        Raises:
            GatewayError: the gateway refused to work; surely nothing was charged.
            ServiceUnavailable: the database did not answer; nothing was tried.
        """
        if payment.status != PaymentStatus.PENDING or payment.gateway_id:
            return self.look_up(payment, Share.CUSTOMER)
        with self.gateway.admitted():
            now = utcnow()
            payment = self.books.change(
                payment, lambda stored: changes.attempted(stored, now, self.recover_in)
            )
            if payment.attempted_at != now:
                return PaymentResult(payment)
            outcome = self.gateway.charge(_charge_of(payment))
            if isinstance(outcome, Refused):
                # That says nothing about the earlier attempt, which may be on its way.
                outcome = Unknown(outcome.reason)
            return self._recorded(payment, outcome)

    def _attempt(self, order: PaymentOrder, transaction_id: str) -> Attempt:
        return self.attempts.begin(
            transaction_id,
            booking_id=order.booking_id,
            user_id=order.user_id,
            customer_ip=order.customer_ip,
            token=order.payment_token,
        )

    def _recorded(self, payment: Payment, outcome: PaymentOutcome) -> PaymentResult:
        payment = self.record(payment, outcome, Actor.API)
        if isinstance(outcome, ActionRequired):
            self._looks.remember(payment.id, outcome)
        if isinstance(outcome, Refused) and payment.status == PaymentStatus.FAILED:
            error = InvalidAmount if outcome.bad_amount else GatewayError
            raise error(_decline_of(outcome).message, transaction_id=payment.id)
        return _result(payment, outcome)

    def look_up(self, payment: Payment, share: Share = Share.STATUS) -> PaymentResult:
        """Settle a payment for a caller that waits; as it stands if the gateway is too slow for that.

        The gateway is asked once every few seconds for each payment; between, what it said last is returned.
        """
        if payment.status not in UNSETTLED or not payment.gateway_id:
            return PaymentResult(payment)
        if not self._looks.claim(payment.id):
            return self._result(payment)
        try:
            with self.gateway.admitted(share):
                result = self.settle(payment, Actor.API)
        except (GatewayError, ServiceUnavailable):
            return self._result(payment)
        self._looks.remember(payment.id, result.action)
        return result

    def _result(self, payment: Payment) -> PaymentResult:
        waits = payment.status == PaymentStatus.REQUIRES_ACTION
        return PaymentResult(payment, self._looks.action(payment.id) if waits else None)

    def settle(self, payment: Payment, actor: Actor) -> PaymentResult:
        """Look up an unsettled payment by the gateway's id of it, and record its outcome.

        Args:
            payment: as stored, with the gateway's id.
            actor: who asks.

        Raises:
            GatewayError: the gateway did not answer.
        """
        if payment.gateway_id is None:
            raise ValueError(f"the gateway's id of {payment.id} is not known")
        fact = self.gateway.payment(payment.gateway_id)
        if fact is None:
            log.error(
                "payment unknown to the gateway", transaction_id=payment.id, gateway_id=payment.gateway_id
            )
            return PaymentResult(payment)
        return self.settle_by(payment, fact, actor)

    def settle_by(self, payment: Payment, fact: GatewayPayment, actor: Actor) -> PaymentResult:
        """Record what the gateway has on its books about a payment.

        Returns:
            The payment as it stands; unchanged if the fact is about another payment, or nothing is new.
        """
        if not agrees(payment, fact, self.settings.namespace):
            return PaymentResult(payment)
        if self._is_over(payment, fact.outcome):
            # The customer holds a secret with which the browser could confirm it again, and with another
            # card: once it counts as failed here, that would be a charge for a booking that is free again.
            fact = self.gateway.cancel(fact.gateway_id, abandoned=True)
        payment = self.record(payment, fact.outcome, actor)
        return _result(payment, fact.outcome)

    def _is_over(self, payment: Payment, outcome: PaymentOutcome) -> bool:
        """Whether a payment that its customer could still confirm has come to its end."""
        if isinstance(outcome, ActionRequired):
            return utcnow() > payment.created_at + self._action_timeout or payment.status in UNPAID
        return isinstance(outcome, Declined) and payment.status == PaymentStatus.REQUIRES_ACTION

    @property
    def _action_timeout(self) -> timedelta:
        """How long a customer may take to confirm; nothing is charged after it."""
        return timedelta(minutes=self.settings.payment_action_timeout)

    def cancel(self, order: CancelOrder) -> Payment:
        """Call off a payment that waits for its customer.

        Raises:
            TransactionNotFound: no such payment of that booking and user.
            CancelNotAllowed: it is charged, its outcome is unknown, or it is over.
            GatewayError: the gateway did not answer; nothing is changed.
            ServiceUnavailable: the database did not answer; nothing is changed.
        """
        payment = self.books.get(order.transaction_id)
        if (payment.booking_id, payment.user_id) != (order.booking_id, order.user_id):
            raise TransactionNotFound("No transaction has this id.", transaction_id=order.transaction_id)
        return self.cancel_payment(payment, Actor.API, order.reason)

    def cancel_payment(self, payment: Payment, actor: Actor, reason: str | None) -> Payment:
        """See `cancel`; for a payment in hand."""
        if payment.status == PaymentStatus.REQUIRES_ACTION and payment.gateway_id:
            with self.gateway.admitted():
                fact = self.gateway.cancel(payment.gateway_id, abandoned=False)
            if agrees(payment, fact, self.settings.namespace):
                if isinstance(fact.outcome, Canceled):
                    now = utcnow()
                    payment = self.books.record(
                        payment,
                        lambda stored: changes.canceled(
                            stored, fact.gateway_id, actor=actor, now=now, note=reason
                        ),
                    )
                else:
                    payment = self.record(payment, fact.outcome, actor)
        if payment.status != PaymentStatus.CANCELED:
            raise CancelNotAllowed(
                f"The payment can't be canceled: it is {payment.status}.",
                transaction_id=payment.id,
                status=payment.status,
            )
        return payment

    def give_up(self, payment: Payment, actor: Actor) -> Payment:
        """Record that a charge was never carried out, and never can be, unless a new attempt has begun."""
        now = utcnow()

        def decide(stored: Payment) -> Payment:
            if stored.attempted_at != payment.attempted_at or stored.status not in UNSETTLED:
                return stored
            return changes.failed(
                stored,
                declines.GATEWAY_ERROR,
                None,
                actor=actor,
                now=now,
                note="the gateway never charged it",
            )

        return self.books.record(payment, decide)

    def record(self, payment: Payment, outcome: PaymentOutcome, actor: Actor) -> Payment:
        """Record what the gateway said. What can't be recorded now stays as it is, for recovery to look up.

        Returns:
            The payment as it stands: also when a webhook or another process was faster.
        """
        now, attempt = utcnow(), payment.attempted_at

        def decide(stored: Payment) -> Payment:
            if isinstance(outcome, Refused) and stored.attempted_at != attempt:
                return stored  # another attempt has begun, and may succeed
            return _changed(stored, outcome, actor, now)

        try:
            payment = self.books.record(payment, decide)
            if isinstance(outcome, Unknown):
                payment = self.books.get(payment.id)  # another process may know more by now
        except changes.IllegalMove:
            payment = self.books.get(payment.id)
        except ServiceUnavailable as error:
            log.warning("payment outcome not recorded", transaction_id=payment.id, reason=str(error))
            return payment
        if isinstance(outcome, Unknown):
            log.warning(
                "payment outcome unknown", transaction_id=payment.id, reason=outcome.reason, actor=actor
            )
        if isinstance(outcome, Charged) and payment.status in UNPAID:
            payment = self.refunds.undo_charge(
                payment, outcome.gateway_id, actor, automatic=self.settings.refund_stray_charges
            )
        return payment

    def _check(self, order: PaymentOrder) -> PaymentOrder:
        """The order with currency and amount in canonical form."""
        if order.payment_method not in self.settings.payment_methods:
            raise InvalidRequest("This payment method is not enabled.", field="payment_method")
        if order.return_url and not self._may_return_to(order.return_url):
            schemes = ", ".join(("https", *self.settings.return_url_schemes))
            raise InvalidRequest(f"return_url must have one of the schemes: {schemes}.", field="return_url")
        currency = order.currency or self.settings.default_currency
        limit = self.settings.max_payment(currency)
        if limit is not None and order.amount > limit:
            raise InvalidAmount(f"amount must be at most {limit} {currency}.", field="amount")
        if order.amount >= _BEYOND_ANY_PRICE:
            raise InvalidAmount("amount is larger than any price.", field="amount")
        return replace(order, currency=currency, amount=canonical_amount(order.amount, currency))

    def _may_return_to(self, url: str) -> bool:
        """Whether customers may be sent to a URL: https, a configured scheme, or a shop under development."""
        parts = urlsplit(url)
        local = parts.scheme == "http" and parts.hostname in _LOOPBACK_HOSTS
        return local or parts.scheme in ("https", *self.settings.return_url_schemes)

    def _open(self, order: PaymentOrder, transaction_id: str, method: str | None) -> Payment:
        replaced = 0
        while True:
            opened = changes.opened(
                order, transaction_id, method, actor=Actor.API, now=utcnow(), recover_in=self.recover_in
            )
            try:
                return self.books.open(opened)
            except DuplicateTransaction as duplicate:
                if not order.replace_open or replaced == _MAX_REPLACED:
                    raise
                self._replace(order, duplicate)
                replaced += 1

    def _replace(self, order: PaymentOrder, duplicate: DuplicateTransaction) -> None:
        """Cancel the payment that holds the booking if it waits for the same user; else raise `duplicate`."""
        first = self.books.ledger.find(str(duplicate.details.get("transaction_id")))
        if first is None:
            return  # closed meanwhile
        if first.user_id != order.user_id or first.status != PaymentStatus.REQUIRES_ACTION:
            raise duplicate
        try:
            self.cancel_payment(first, Actor.API, "replaced by another payment")
        except CancelNotAllowed:
            raise duplicate from None

    def _method_for(self, order: PaymentOrder) -> str | None:
        """The gateway's id of what pays; None where the customer chooses at the gateway."""
        live = self.settings.gateway_live
        if order.payment_method == "paypal":
            return None
        if order.payment_token:
            return order.payment_token
        if order.payment_method == "stripe" and order.card is None:
            return None
        if order.card is None:
            if live:
                raise InvalidRequest("A payment_token (pm_…) is required.", field="payment_token")
            return self.gateway.default_test_method
        if live and not self.settings.allow_raw_card_data:
            raise InvalidRequest(
                "Card numbers are not taken here. Send a payment_token (pm_…) made with Stripe.js.",
                field="payment_token",
            )
        check_card(order.card, utcnow())
        return self._tokenize(order.card) if live else self.gateway.test_method(order.card)

    def _tokenize(self, card: CardDetails) -> str:
        method = self.gateway.tokenize(card)
        match method:
            case Declined(decline=decline):
                raise (CardExpired if decline.code == CardExpired.code else InvalidCard)(decline.message)
            case Refused():
                raise GatewayError(declines.GATEWAY_ERROR.message)
        return method


def make_payments(settings: Settings, announce: Announce = announce_nothing) -> Payments:
    """The payment side on MongoDB and the gateway that the settings name.

    Args:
        settings: of this process.
        announce: called with the booking's id once an event is stored; without it a relay's sweep finds it.
    """
    books = Books(MongoLedger(), announce)
    return Payments(settings, make_gateway(settings), books, make_guard(settings))


def _result(payment: Payment, outcome: PaymentOutcome) -> PaymentResult:
    if isinstance(outcome, ActionRequired) and payment.status == PaymentStatus.REQUIRES_ACTION:
        return PaymentResult(payment, outcome)
    return PaymentResult(payment)


def _decline_of(outcome: Refused) -> declines.Decline:
    return declines.BAD_AMOUNT if outcome.bad_amount else declines.GATEWAY_ERROR


def _charge_of(payment: Payment) -> Charge:
    """What to ask the gateway for; the same each time, for its idempotency compares."""
    if payment.gateway_method:
        kind: ChargeKind = "card"
    else:
        kind = "paypal" if payment.payment_method == "paypal" else "element"
    return Charge(
        transaction_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        booking_id=payment.booking_id,
        user_id=payment.user_id,
        payment_method=payment.gateway_method,
        kind=kind,
        return_url=payment.return_url,
        metadata=dict(payment.metadata),
    )


def _changed(payment: Payment, outcome: PaymentOutcome, actor: Actor, now: datetime) -> Payment:
    """The record with what an outcome means for it."""
    match outcome:
        case Charged():
            if payment.status in UNPAID:
                return payment  # not a change of this record's status: the charge goes back
            return changes.completed(
                payment, outcome.gateway_id, outcome.card_brand, outcome.card_last_four, actor=actor, now=now
            )
        case ActionRequired():
            return changes.awaiting_customer(payment, outcome.gateway_id, actor=actor, now=now)
        case Declined(decline=decline, gateway_id=gateway_id):
            return changes.failed(payment, decline, gateway_id, actor=actor, now=now)
        case Canceled(gateway_id=gateway_id, decline=decline):
            return changes.failed(payment, decline, gateway_id, actor=actor, now=now)
        case Refused():
            announced = not outcome.transient
            return changes.failed(
                payment,
                _decline_of(outcome),
                None,
                actor=actor,
                now=now,
                announced=announced,
                note=outcome.reason,
            )
        case Unknown(gateway_id=gateway_id) if gateway_id and payment.status in UNSETTLED:
            return changes.named(payment, gateway_id)
        case _:
            return payment
