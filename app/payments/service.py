"""Take a payment: record it, charge it, record the outcome, publish the event. The order makes it safe.

1. Write the pending record, which claims the booking. If that fails, nothing is charged.
2. Call the gateway, with the record's id as idempotency key.
3. Write the outcome and its event in one compare-and-set.
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
    AmountRefused,
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
from app.payments.looks import RecentLookups
from app.payments.refunds import Refunds
from app.payments.states import UNPAID, UNSETTLED, Actor, PaymentStatus
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from decimal import Decimal

    from app.payments.ledger import Ledger
    from app.payments.orders import CancelOrder, PaymentOrder
    from app.payments.records import Payment
    from app.settings import Settings

log = get_logger(__name__)

#: Time for the writes before and after the gateway call.
_WRITES_TAKE = timedelta(seconds=10)

_LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})

#: In major units; for currencies without their own limit.
_BEYOND_ANY_PRICE = 1_000_000_000

#: Maximum number of open payments that one request replaces.
_MAX_REPLACED = 3


@dataclass(frozen=True)
class PaymentResult:
    """A recorded payment, and the customer's required action, if any."""

    payment: Payment
    action: ActionRequired | None = None


class Payments:
    """The payment service, used by the API, the sweeps, and the commands.

    Args:
        settings: limits, enabled methods, live or test mode.
        gateway: charges cards.
        books: changes payments.
        attempts: refuses attempts after too many declines; None for no limits.
    """

    def __init__(
        self, settings: Settings, gateway: Gateway, books: Books, attempts: AttemptGuard | None = None
    ) -> None:
        self.settings = settings
        self.gateway = gateway
        self.books = books
        self.attempts = attempts or AttemptGuard(MemoryStore(), {})
        self._lookups = RecentLookups()
        self.refunds = Refunds(self.books, gateway, self.recover_in)

    @property
    def recover_in(self) -> timedelta:
        """Return the longest duration of a gateway call in any process."""
        return timedelta(seconds=self.settings.gateway_time_budget) + _WRITES_TAKE

    def pay(self, order: PaymentOrder, transaction_id: str) -> PaymentResult:
        """Take a payment.

        Args:
            order: what to charge. Its form has been checked; this method checks its content.
            transaction_id: a new id for the payment.

        Returns:
            The recorded payment: completed, failed, waiting for the customer, or pending while the outcome is
            unknown.

        Raises:
            InvalidAmount, InvalidCard, CardExpired, InvalidRequest: refused before any gateway call.
            DuplicateTransaction: the booking has a payment.
            TooManyAttempts: too many attempts were declined.
            GatewayError: the gateway refused the request; certainly nothing was charged.
            ServiceUnavailable: the payment is not recorded, so nothing was attempted.
        """
        order = self._check(order)
        with self.gateway.admitted(), self._attempt(order, transaction_id) as attempt:
            method = self._method_for(order)
            payment = self._open(order, transaction_id, method)
            outcome = self.gateway.charge(_charge_of(payment))
            if isinstance(outcome, Declined):
                outcome = replace(outcome, decline=_counted(attempt, outcome))
            elif isinstance(outcome, ActionRequired | Unknown):
                attempt.left_open()
            return self._recorded(payment, outcome, attempt)

    def rule_out(self, order: PaymentOrder, transaction_id: str) -> None:
        """Prevent a late charge by an attempt that left no record and may only be slow.

        Args:
            order: the attempt's order.
            transaction_id: the attempt's transaction id.

        Raises:
            GatewayError: the attempt is in progress, or the gateway is unavailable.
        """
        order = self._check(order)
        with self.gateway.admitted():
            if not self.seal(transaction_id, order.amount, order.currency or ""):
                raise GatewayError(
                    "An earlier attempt at this request is in progress. Please try again soon."
                )

    def seal(self, transaction_id: str, amount: Decimal, currency: str) -> bool:
        """Seal a payment's idempotency key: see `Gateway.seal`.

        Raises:
            GatewayUnavailable: see `Gateway.seal`.
        """
        try:
            return self.gateway.seal(transaction_id, amount, currency)
        except AmountRefused:
            # The charge has the same amount and currency, so the gateway refuses a late one as well.
            return True

    def resume(self, payment: Payment) -> PaymentResult:
        """Resume a payment that an earlier attempt of the same request recorded.

        The customer is present, so this may charge. It uses the same idempotency key, so the gateway charges
        once. An outcome that another process records meanwhile is kept.

        Raises:
            GatewayError: the gateway refused the request; certainly nothing was charged.
            ServiceUnavailable: the database is unavailable; nothing was attempted.
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
                # This does not settle the earlier attempt, which may still arrive.
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

    def _resumed(self, payment: Payment) -> Attempt:
        return self.attempts.resume(
            payment.id,
            booking_id=payment.booking_id,
            user_id=payment.user_id,
            token=payment.gateway_method,
        )

    def _recorded(
        self, payment: Payment, outcome: PaymentOutcome, attempt: Attempt | None = None
    ) -> PaymentResult:
        payment = self.record(payment, outcome, Actor.API, attempt)
        if isinstance(outcome, ActionRequired):
            self._lookups.remember(payment.id, outcome)
        if isinstance(outcome, Refused) and payment.status == PaymentStatus.FAILED:
            error = InvalidAmount if outcome.bad_amount else GatewayError
            raise error(_decline_of(outcome).message, transaction_id=payment.id)
        return _result(payment, outcome)

    def look_up(self, payment: Payment, share: Share = Share.STATUS) -> PaymentResult:
        """Look up a payment for a waiting caller. Return the stored state if the gateway is too slow.

        Each payment is looked up at most once every few seconds. In between, the last result is returned.
        """
        if payment.status not in UNSETTLED or not payment.gateway_id:
            return PaymentResult(payment)
        if not self._lookups.claim(payment.id):
            return self._result(payment)
        try:
            with self.gateway.admitted(share):
                result = self.settle(payment, Actor.API)
        except (GatewayError, ServiceUnavailable):
            return self._result(payment)
        self._lookups.remember(payment.id, result.action)
        return result

    def _result(self, payment: Payment) -> PaymentResult:
        waits = payment.status == PaymentStatus.REQUIRES_ACTION
        return PaymentResult(payment, self._lookups.action(payment.id) if waits else None)

    def settle(self, payment: Payment, actor: Actor) -> PaymentResult:
        """Look up an unsettled payment by its gateway id, and record the outcome.

        Args:
            payment: the stored payment, with a gateway id.
            actor: who looks up.

        Raises:
            GatewayError: the gateway is unavailable.
        """
        if payment.gateway_id is None:
            raise ValueError(f"the payment {payment.id} has no gateway id yet")
        fact = self.gateway.payment(payment.gateway_id)
        if fact is None:
            log.error(
                "payment unknown to the gateway", transaction_id=payment.id, gateway_id=payment.gateway_id
            )
            return PaymentResult(payment)
        return self.settle_by(payment, fact, actor)

    def settle_by(self, payment: Payment, fact: GatewayPayment, actor: Actor) -> PaymentResult:
        """Record the gateway's state of a payment.

        Returns:
            The current payment, unchanged if the fact is about another payment or already known.
        """
        if not agrees(payment, fact, self.settings.namespace):
            return PaymentResult(payment)
        shown, locked_out = self.count_decline(payment, fact.declined)
        if self._is_over(payment, fact.outcome, locked_out=locked_out):
            # With the client secret, the browser could confirm the payment again with another card. If it
            # already counted as failed here, that would charge for a booking that is free again.
            fact = self.gateway.cancel(fact.gateway_id, abandoned=True)
        outcome = fact.outcome
        if shown and isinstance(outcome, Declined | Canceled):
            outcome = replace(outcome, decline=shown)
        payment = self.record(payment, outcome, actor)
        return _result(payment, outcome)

    def count_decline(
        self, payment: Payment, declined: Declined | None
    ) -> tuple[declines.Decline | None, bool]:
        """Count a decline that the gateway reports after the response to the charge request.

        Args:
            payment: the payment.
            declined: the gateway's report, which may repeat an earlier one.

        Returns:
            The decline to show, or None without a decline; and whether further attempts are refused.
        """
        if declined is None:
            return None, False
        attempt = self._resumed(payment)
        return _counted(attempt, declined), attempt.locked_out

    def _is_over(self, payment: Payment, outcome: PaymentOutcome, *, locked_out: bool) -> bool:
        """Return whether the customer may no longer confirm a payment."""
        if isinstance(outcome, ActionRequired):
            late = utcnow() > payment.created_at + self._action_timeout
            return late or locked_out or payment.status in UNPAID
        return isinstance(outcome, Declined) and payment.status == PaymentStatus.REQUIRES_ACTION

    @property
    def _action_timeout(self) -> timedelta:
        """Return the customer's time limit to confirm. Nothing is charged after it."""
        return timedelta(minutes=self.settings.payment_action_timeout)

    def cancel(self, order: CancelOrder) -> Payment:
        """Cancel a payment that waits for its customer.

        Raises:
            TransactionNotFound: no such payment of that booking and user.
            CancelNotAllowed: the payment is charged, has an unknown outcome, or has ended.
            GatewayError: the gateway is unavailable; nothing is changed.
            ServiceUnavailable: the database is unavailable; nothing is changed.
        """
        payment = self.books.get(order.transaction_id)
        if (payment.booking_id, payment.user_id) != (order.booking_id, order.user_id):
            raise TransactionNotFound("No transaction has this id.", transaction_id=order.transaction_id)
        return self.cancel_payment(payment, Actor.API, order.reason)

    def cancel_payment(self, payment: Payment, actor: Actor, reason: str | None) -> Payment:
        """Cancel a given payment; see `cancel`."""
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
                f"The payment can't be canceled: its status is {payment.status}.",
                transaction_id=payment.id,
                status=payment.status,
            )
        return payment

    def give_up(self, payment: Payment, actor: Actor) -> Payment:
        """Record that a charge was not and can't be carried out, unless a new attempt has started."""
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

    def record(
        self, payment: Payment, outcome: PaymentOutcome, actor: Actor, attempt: Attempt | None = None
    ) -> Payment:
        """Record the gateway's outcome. If that fails, the payment is unchanged, and recovery looks it up.

        Args:
            payment: the payment.
            outcome: the gateway's outcome.
            actor: who learned of it.
            attempt: the attempt in flight, if the caller has one.

        Returns:
            The current payment, also if a webhook or another process recorded it first.
        """
        now, attempted_at = utcnow(), payment.attempted_at

        def decide(stored: Payment) -> Payment:
            if isinstance(outcome, Refused) and stored.attempted_at != attempted_at:
                return stored  # another attempt has begun, and may succeed
            return _changed(stored, outcome, actor, now)

        try:
            payment = self.books.record(payment, decide)
            if isinstance(outcome, Unknown):
                payment = self.books.get(payment.id)  # another process may have recorded more by now
        except changes.IllegalMove:
            payment = self.books.get(payment.id)
        except ServiceUnavailable as error:
            log.warning("payment outcome not recorded", transaction_id=payment.id, reason=str(error))
            return payment
        if isinstance(outcome, Unknown):
            log.warning(
                "payment outcome unknown", transaction_id=payment.id, reason=outcome.reason, actor=actor
            )
        if isinstance(outcome, Charged) and payment.processed_at == now:  # not recorded by another process
            (attempt or self._resumed(payment)).paid()
        if isinstance(outcome, Charged) and payment.status in UNPAID:
            payment = self.refunds.undo_charge(
                payment, outcome.gateway_id, actor, automatic=self.settings.refund_stray_charges
            )
        return payment

    def _check(self, order: PaymentOrder) -> PaymentOrder:
        """Check an order. Return it with currency and amount in canonical form."""
        if order.payment_method not in self.settings.payment_methods:
            raise InvalidRequest(
                "This payment method is disabled. Use a method that GET /payment/methods shows as enabled.",
                field="payment_method",
            )
        if order.return_url and not self._may_return_to(order.return_url):
            schemes = ", ".join(("https", *self.settings.return_url_schemes))
            raise InvalidRequest(
                f"return_url must start with one of these schemes: {schemes}.", field="return_url"
            )
        currency = order.currency or self.settings.default_currency
        limit = self.settings.max_payment(currency)
        if limit is not None and order.amount > limit:
            raise InvalidAmount(f"amount must be at most {limit} {currency}.", field="amount")
        if order.amount >= _BEYOND_ANY_PRICE:
            raise InvalidAmount(f"amount must be less than {_BEYOND_ANY_PRICE}.", field="amount")
        return replace(order, currency=currency, amount=canonical_amount(order.amount, currency))

    def _may_return_to(self, url: str) -> bool:
        """Return whether customers may be redirected to a URL: https, a configured scheme, or a local shop in
        development."""
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
        """Cancel the booking's payment if it waits for the same user; else raise `duplicate`."""
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
        """Return the gateway's payment method id; None if the customer chooses at the gateway."""
        live = self.settings.is_gateway_live
        if order.payment_method == "paypal":
            return None
        if order.payment_token:
            return order.payment_token
        if order.payment_method == "stripe" and order.card is None:
            return None
        if order.card is None:
            if live:
                raise InvalidRequest(
                    "payment_token is missing. Send a PaymentMethod id (pm_…) created with Stripe.js.",
                    field="payment_token",
                )
            return self.gateway.default_test_method
        if live and not self.settings.allow_raw_card_data:
            raise InvalidRequest(
                "Raw card numbers are not accepted. Send a payment_token (pm_…) created with Stripe.js.",
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


def make_payments(
    settings: Settings, announce: Announce = announce_nothing, ledger: Ledger | None = None
) -> Payments:
    """Return the payment service with MongoDB and the settings' gateway.

    Args:
        settings: the process's settings.
        announce: called with the booking id after an event is stored; without it, a relay's sweep finds the
            event.
        ledger: store of payments; None for one in MongoDB.
    """
    books = Books(ledger or MongoLedger(), announce)
    return Payments(settings, make_gateway(settings), books, make_guard(settings))


def _result(payment: Payment, outcome: PaymentOutcome) -> PaymentResult:
    if isinstance(outcome, ActionRequired) and payment.status == PaymentStatus.REQUIRES_ACTION:
        return PaymentResult(payment, outcome)
    return PaymentResult(payment)


def _counted(attempt: Attempt, declined: Declined) -> declines.Decline:
    """Count a decline. Return the decline to show."""
    return attempt.declined(declined.decline, declined.card_fingerprint, declined.attempt_id)


def _decline_of(outcome: Refused) -> declines.Decline:
    return declines.BAD_AMOUNT if outcome.bad_amount else declines.GATEWAY_ERROR


def _charge_of(payment: Payment) -> Charge:
    """Return the gateway request, equal in every attempt, because the gateway's idempotency compares
    requests."""
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
    """Return the record with an outcome applied."""
    match outcome:
        case Charged():
            if payment.status in UNPAID:
                return payment  # the status does not change; the charge is refunded
            return changes.completed(
                payment, outcome.gateway_id, outcome.card_brand, outcome.card_last_four, actor=actor, now=now
            )
        case ActionRequired():
            return changes.awaiting_customer(payment, outcome.gateway_id, actor=actor, now=now)
        case Declined(decline=decline, gateway_id=gateway_id):
            return changes.failed(payment, decline, gateway_id, actor=actor, now=now)
        case Canceled(gateway_id=gateway_id, requested=True):
            return changes.canceled(payment, gateway_id, actor=actor, now=now, note=None)
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
