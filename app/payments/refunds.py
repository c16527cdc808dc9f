"""Refund payments: reserve the amount in one conditional write, call the gateway, and record the outcome.

No lock is held during the gateway call. The amount stays reserved until the outcome is definite.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.errors import GatewayError, InvalidAmount, RefundNotAllowed, ServiceUnavailable
from app.gateway import Refunded, RefundFailed, RefundPending, RefundRequest, Refused
from app.ids import new_id
from app.money import canonical_amount
from app.payments import changes
from app.payments.records import Refund
from app.payments.states import Actor, RefundStatus
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal

    from app.gateway import Gateway, GatewayRefund, RefundOutcome
    from app.payments.books import Books
    from app.payments.orders import RefundOrder
    from app.payments.records import Payment

log = get_logger(__name__)

#: Reasons of refunds that were not requested through the API.
_REFUNDED_ELSEWHERE = "Refunded by our payment provider"
_STRAY_CHARGE = "The payment had failed, and was charged all the same"


class RefundNotCarriedOut(RefundNotAllowed):
    """An earlier attempt ended before the gateway accepted the refund. A new attempt needs a new id."""


class Refunds:
    """Makes refunds, and records their outcomes.

    Args:
        books: changes payments.
        gateway: makes the refunds.
        recover_in: time from a request until recovery looks up the outcome.
    """

    def __init__(self, books: Books, gateway: Gateway, recover_in: timedelta) -> None:
        self._books = books
        self._gateway = gateway
        self._recover_in = recover_in

    def refund(
        self, order: RefundOrder, refund_id: str, actor: Actor = Actor.API, *, keep_open: bool = False
    ) -> tuple[Payment, Refund]:
        """Make a refund.

        Args:
            order: the refund to make.
            refund_id: id of the new refund; the same for every attempt of one request.
            actor: who requests it.
            keep_open: whether a transient refusal leaves the refund pending, because the caller repeats it.

        Returns:
            The recorded payment and refund: completed, or pending while the outcome is unknown.

        Raises:
            TransactionNotFound: no such payment.
            RefundNotAllowed: the payment is not completed, is disputed, has another booking or user, or the
                remaining amount is too small; or the gateway refused.
            InvalidAmount: the amount is not valid in the currency.
            GatewayError: the gateway refused the request; certainly nothing was refunded.
            ServiceUnavailable: the refund is not recorded, so nothing was attempted.
        """
        payment = self._books.get(order.original_transaction_id)
        if payment.refund(refund_id):
            return self.resume(payment, refund_id, actor)  # another attempt of the same request was faster
        amount = _allowed_amount(payment, order, actor)
        with self._gateway.admitted():
            now = utcnow()
            resumed = keep_open or None
            refund = Refund(refund_id, RefundStatus.PENDING, amount, order.reason, now, resumed=resumed)
            payment = self._reserve(payment, refund, actor, now)
            return self._request(payment, refund_id, actor)

    def rule_out(self, order: RefundOrder, refund_id: str) -> None:
        """Prevent a late refund by an attempt that left no record and may only be slow.

        Raises:
            TransactionNotFound: no such payment.
            GatewayError: the attempt is in progress, or the gateway is unavailable.
        """
        payment = self._books.get(order.original_transaction_id)
        with self._gateway.admitted():
            if not self._gateway.seal(refund_id, payment.amount, payment.currency):
                raise GatewayError(
                    "An earlier attempt at this request is in progress. Please try again soon."
                )

    def resume(self, payment: Payment, refund_id: str, actor: Actor = Actor.API) -> tuple[Payment, Refund]:
        """Resume a refund that an earlier attempt of the same request recorded.

        It uses the same idempotency key, so the gateway refunds once.

        Raises:
            RefundNotCarriedOut: the earlier attempt certainly refunded nothing, and never will.
            RefundNotAllowed, GatewayError: see `refund`.
        """
        refund = _refund_of(payment, refund_id)
        if refund.pending and refund.gateway_id is None:
            with self._gateway.admitted():
                later = utcnow() + self._recover_in
                payment = self._books.change(
                    payment, lambda stored: changes.refund_resumed(stored, refund_id, later)
                )
                return self._request(payment, refund_id, actor)
        return _recorded(payment, refund_id)

    def _reserve(self, payment: Payment, refund: Refund, actor: Actor, now: datetime) -> Payment:
        return self._books.change(
            payment,
            lambda stored: changes.refund_reserved(
                stored, refund, actor=actor, now=now, recover_in=self._recover_in
            ),
        )

    def _request(self, payment: Payment, refund_id: str, actor: Actor) -> tuple[Payment, Refund]:
        if not _refund_of(payment, refund_id).pending:
            return _recorded(payment, refund_id)
        outcome = self._refund_at_gateway(payment, refund_id)
        payment = self.record(payment, refund_id, outcome, actor)
        if isinstance(outcome, Refused) and _refund_of(payment, refund_id).status == RefundStatus.FAILED:
            if outcome.transient:
                raise GatewayError(
                    "The refund could not be made. Nothing was refunded. Please try again soon.",
                    transaction_id=payment.id,
                )
            raise _refused(payment, refund_id)
        return _recorded(payment, refund_id)

    def _refund_at_gateway(self, payment: Payment, refund_id: str) -> RefundOutcome:
        charge = payment.stray_charge or payment.gateway_id
        if charge is None:
            raise ValueError(f"the payment {payment.id} has no gateway id yet")
        amount = _refund_of(payment, refund_id).amount
        return self._gateway.refund(RefundRequest(refund_id, charge, amount, payment.currency))

    def record(self, payment: Payment, refund_id: str, outcome: RefundOutcome, actor: Actor) -> Payment:
        """Record an outcome once. If that fails, the refund stays pending, and recovery looks it up.

        Returns:
            The current payment, also if another process recorded it first.
        """
        now = utcnow()

        def decide(stored: Payment) -> Payment:
            match outcome:
                case Refunded(gateway_id=gateway_id):
                    return changes.refund_completed(stored, refund_id, gateway_id, actor=actor, now=now)
                case RefundPending(gateway_id=gateway_id):
                    return changes.refund_named(stored, refund_id, gateway_id)
                case RefundFailed(gateway_id=gateway_id, reason=reason):
                    return changes.refund_failed(
                        stored, refund_id, reason, actor=actor, now=now, gateway_id=gateway_id
                    )
                case Refused(reason=reason, transient=transient):
                    return changes.refund_refused(
                        stored, refund_id, reason, transient=transient, actor=actor, now=now
                    )
                case _:
                    return stored

        about = {"transaction_id": payment.id, "refund_transaction_id": refund_id, "actor": actor}
        try:
            payment = self._books.record(payment, decide)
        except changes.IllegalMove as error:
            log.error("refund outcome does not match the record", reason=str(error), **about)
            return self._books.get(payment.id)
        except ServiceUnavailable as error:
            log.warning("refund outcome not recorded", reason=str(error), **about)
            return payment
        refund = payment.refund(refund_id)
        if refund and refund.pending:
            reason = getattr(outcome, "reason", None)
            log.warning("refund outcome unknown", booking_id=payment.booking_id, reason=reason, **about)
        return payment

    def synchronize(self, payment: Payment, actor: Actor) -> Payment:
        """Record the state of all refunds of a payment at the gateway, including those made elsewhere.

        Raises:
            GatewayError: the gateway did not list them.
        """
        if payment.gateway_id is None:
            return payment
        return self.record_all(payment, self._gateway.refunds(payment=payment.gateway_id), actor)

    def record_all(self, payment: Payment, facts: Iterable[GatewayRefund], actor: Actor) -> Payment:
        """Record the gateway's refunds of a payment."""
        # Failed refunds first, because another refund may have replaced one.
        for fact in sorted(facts, key=lambda fact: not isinstance(fact.outcome, RefundFailed)):
            payment = self.record_fact(payment, fact, actor)
        return payment

    def record_fact(self, payment: Payment, fact: GatewayRefund, actor: Actor) -> Payment:
        """Record one refund from the gateway, unless it disagrees with the record."""
        own_refund = payment.refund_by_gateway_id(fact.gateway_id) or payment.refund(fact.refund_id or "")
        if not _agrees(payment, own_refund, fact):
            return payment
        if own_refund:
            return self.record(payment, own_refund.id, fact.outcome, actor)
        if not isinstance(fact.outcome, Refunded):
            return payment  # made elsewhere, and no money has moved yet
        now = utcnow()
        adopted = Refund(
            fact.refund_id or new_id("REF-"),
            RefundStatus.COMPLETED,
            fact.amount,
            _REFUNDED_ELSEWHERE,
            now,
            gateway_id=fact.gateway_id,
            processed_at=now,
        )
        # Our refunds are recorded before the request, so the newest record contains this one if it is ours.
        try:
            return self._books.change(
                payment, lambda stored: changes.refund_adopted(stored, adopted, actor=actor, now=now)
            )
        except changes.IllegalMove as error:
            log.error(
                "refund outcome does not match the record",
                reason=str(error),
                transaction_id=payment.id,
                gateway_id=fact.gateway_id,
                actor=actor,
            )
            return payment

    def undo_charge(self, payment: Payment, gateway_id: str, actor: Actor, *, automatic: bool) -> Payment:
        """Record and refund a stray charge.

        Args:
            payment: the record, failed or canceled.
            gateway_id: the gateway's id of the charge.
            actor: who found out.
            automatic: whether to refund now, rather than leave it to an operator.
        """
        now = utcnow()
        look_at = now + self._recover_in if automatic else None
        payment = self._books.record(
            payment,
            lambda stored: changes.strayed(stored, gateway_id, actor=actor, now=now, look_at=look_at),
        )
        return self.refund_stray(payment, actor) if automatic else payment

    def refund_stray(self, payment: Payment, actor: Actor) -> Payment:
        """Refund a stray charge, once."""
        if payment.stray_charge is None:
            return payment
        now = utcnow()
        refund = Refund(new_id("REF-"), RefundStatus.PENDING, payment.refundable, _STRAY_CHARGE, now)
        payment = self._books.change(
            payment,
            lambda stored: changes.stray_refund_reserved(
                stored, refund, actor=actor, now=now, recover_in=self._recover_in
            ),
        )
        if payment.refund(refund.id) is None:
            return payment  # another process has started one
        return self.record(payment, refund.id, self._refund_at_gateway(payment, refund.id), actor)


def _refund_of(payment: Payment, refund_id: str) -> Refund:
    refund = payment.refund(refund_id)
    if refund is None:
        raise ValueError(f"the payment {payment.id} has no refund {refund_id}")
    return refund


def _recorded(payment: Payment, refund_id: str) -> tuple[Payment, Refund]:
    """Return a recorded refund, and raise if it failed."""
    refund = _refund_of(payment, refund_id)
    if refund.status == RefundStatus.FAILED:
        raise _refused(payment, refund_id, RefundNotAllowed if refund.gateway_id else RefundNotCarriedOut)
    return payment, refund


def _refused(
    payment: Payment, refund_id: str, error: type[RefundNotAllowed] = RefundNotAllowed
) -> RefundNotAllowed:
    return error(
        "The payment gateway refused this refund.",
        refund_transaction_id=refund_id,
        transaction_id=payment.id,
    )


def _agrees(payment: Payment, own_refund: Refund | None, fact: GatewayRefund) -> bool:
    """Return whether a refund at the gateway belongs to this payment: all shared fields are equal."""
    known = {
        "payment_gateway_id": (payment.gateway_id, fact.payment_gateway_id),
        "currency": (payment.currency, fact.currency),
        "amount": (own_refund.amount if own_refund else fact.amount, fact.amount),
    }
    field = next((field for field, (here, there) in known.items() if here != there), None)
    if field:
        metrics.FOREIGN_FACTS.labels(field).inc()
        log.error(
            "gateway refund does not match the record",
            transaction_id=payment.id,
            gateway_id=fact.gateway_id,
            field=field,
        )
    return field is None


def _allowed_amount(payment: Payment, order: RefundOrder, actor: Actor) -> Decimal:
    if order.booking_id != payment.booking_id or order.user_id != payment.user_id:
        raise RefundNotAllowed("The payment belongs to another booking or user.", transaction_id=payment.id)
    changes.check_refundable(payment, actor)
    left = payment.refundable
    amount = left if order.amount is None else order.amount
    if amount > left or left == 0:
        raise RefundNotAllowed(
            f"The refund exceeds the amount left to refund, {left} {payment.currency}.", left=float(left)
        )
    try:
        return canonical_amount(amount, payment.currency)
    except InvalidAmount as error:
        raise InvalidAmount(error.message, field="refund_amount") from None
