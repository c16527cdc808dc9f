"""The payment code without one of its fixes, which the simulation must detect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from app.errors import DuplicateTransaction, GatewayError
from app.gateway import Refused
from app.gateway.stripe import errors
from app.gateway.stripe import gateway as stripe_gateway
from app.idempotency.memory import MemoryClaimStore
from app.payments import changes, recovery, service, webhooks
from app.payments.records import changed
from app.payments.refunds import Refunds
from app.payments.states import RefundStatus
from tests.simulation import site

if TYPE_CHECKING:
    from app.payments.records import Payment, Refund


def _patches(*patches: tuple[Any, str, Any]) -> Callable[[], Any]:
    @contextmanager
    def applied() -> Iterator[None]:
        with ExitStack() as stack:
            for target, name, value in patches:
                stack.enter_context(mock.patch.object(target, name, value))
            yield

    return applied


def _charge_again(self: Any, payment: Payment) -> Payment:
    payments = self._payments
    outcome = payments.gateway.charge(service._charge_of(payment))
    found: Payment = payments.record(payment, outcome, self._actor)
    return found


def _refund_again(self: Any, payment: Payment, refund: Refund) -> Payment:
    refunds = self._payments.refunds
    outcome = refunds._refund_at_gateway(payment, refund.id)
    found: Payment = refunds.record(payment, refund.id, outcome, self._actor)
    return found


def _ignore_pending_refund(self: Any, payment: Payment, refund: Refund) -> Payment:
    return payment


def _transient_is_final(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def reading(error: Any) -> Any:
        outcome = read(error)
        return replace(outcome, transient=False) if isinstance(outcome, Refused) else outcome

    return reading


def _complete_twice(complete: Callable[..., Payment]) -> Callable[..., Payment]:
    def completed(payment: Payment, refund_id: str, *rest: Any, **options: Any) -> Payment:
        refund = payment.refund(refund_id)
        if refund and refund.status == RefundStatus.COMPLETED:
            pending = replace(refund, status=RefundStatus.PENDING)
            payment = changed(payment, refunds=payment.with_refund(pending))
        return complete(payment, refund_id, *rest, **options)

    return completed


def _replace_whoever_owns(self: MemoryClaimStore, claim: Any, **fields: Any) -> bool:
    stored = self._claims.get(claim.id)
    if stored is None:
        return False
    self._claims[claim.id] = replace(stored, **fields)
    return True


def _do_not_undo(self: Refunds, payment: Payment, *_args: Any, **_options: Any) -> Payment:
    return payment


#: Case → the original defect.
MUTANTS: dict[str, Callable[[], Any]] = {
    # An unlisted payment counts as failed, although its request may still arrive.
    "M1": _patches((stripe_gateway.StripeGateway, "seal", lambda *_args: True)),
    # A refund that the gateway accepted is never looked up again.
    "M2": _patches(
        (recovery._Round, "_look_up_refund", _ignore_pending_refund),
        (webhooks, "_synchronize_refunds", lambda *_args: None),
    ),
    # Recovery repeats the request, and gets the stored error of the first one.
    "M3": _patches((recovery._Round, "_look_up_charge", _charge_again)),
    # A payment that was reported as not recorded is carried out later.
    "M4": _patches((recovery._Round, "_look_up_refund", _refund_again)),
    # A refund that a webhook has recorded is recorded once more.
    "M5": _patches((changes, "refund_completed", _complete_twice(changes.refund_completed))),
    # Transient refusals are stored for the key.
    "M6": _patches((GatewayError, "transient", False), (DuplicateTransaction, "transient", False)),
    # A rate limit is taken for a final refusal.
    "M7": _patches(
        (stripe_gateway, "charge_failure", _transient_is_final(errors.charge_failure)),
        (stripe_gateway, "refund_failure", _transient_is_final(errors.refund_failure)),
    ),
    # A late attempt overwrites the response of the attempt that owns the key.
    "M8": _patches(
        (MemoryClaimStore, "replace", _replace_whoever_owns),
        (site, "lease_for", lambda _seconds: timedelta(seconds=1)),
    ),
    # A charge of a failed payment is not refunded.
    "M9": _patches((Refunds, "undo_charge", _do_not_undo)),
    # A lost payment whose amount the gateway refuses stays pending.
    "M10": _patches((stripe_gateway, "refuses_amount", lambda _error: False)),
}
