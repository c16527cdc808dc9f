"""Check the promises of the payment side on a finished history.

Stripe's books check at every charge that a booking has at most one. The rest is checked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from itertools import pairwise, permutations
from typing import TYPE_CHECKING, Any

from app.idempotency import KEY_LIFETIME
from app.payments.states import PAID, UNPAID, UNSETTLED, Actor, RefundStatus
from tests.simulation.stripe_books import NAMESPACE, ChargeMade

if TYPE_CHECKING:
    from app.payments.records import Payment
    from tests.simulation.site import Response, Site

#: Errors after which the request may or may not be carried out.
_SAY_NOTHING = frozenset({"IDEMPOTENCY_CONFLICT", "IDEMPOTENCY_KEY_REUSED", "INTERNAL_ERROR"})

#: Statuses that are never stored for an Idempotency-Key.
_TRANSIENT = frozenset({409, 429, 500, 502, 503})


def broken(site: Site) -> Iterator[str]:
    """Return a description of every broken promise."""
    payments = list(site.stores.ledger.search(1000))
    yield from _denials(site)
    yield from _successes(site)
    for payment in payments:
        yield from _state(site, payment)
        yield from _sums(payment)
        yield from _events(site, payment)
    yield from _event_order(site, payments)
    yield from _replays(site)
    yield from _unrecorded(site, payments)
    yield from _mails(site, payments)


def _denials(site: Site) -> Iterator[str]:
    """A refused request is never carried out later, unless the client repeats it."""
    for response in site.responses:
        denied = response.status >= 400 and response.code not in _SAY_NOTHING and not response.replayed
        if not denied or f"'{response.transaction_id}'".encode() in response.body:
            continue  # also a refusal with the request's own payment, in a late attempt
        if response.kind == "pay":
            for charge in _charges(site, response.transaction_id):
                if charge.intent["stray"]:
                    continue  # made by another application, and refunded
                if charge.at <= response.at or charge.issuer[1] <= response.at:
                    yield (
                        f"{response.transaction_id} was answered {response.status} at {response.at:.3f}, "
                        f"and charged at {charge.at:.3f} by {charge.issuer[0]}"
                    )
        elif response.kind == "refund":
            for refund in _refunds(site, response.transaction_id):
                if refund["status"] != "failed" and not _asked_again(site, response):
                    yield (
                        f"{response.transaction_id} was answered {response.status} at {response.at:.3f}, "
                        f"and is {refund['id']}, {refund['status']}"
                    )


def _asked_again(site: Site, denied: Response) -> bool:
    return denied.status in _TRANSIENT and any(
        later.key == denied.key and later.born >= denied.at for later in site.responses if denied.key
    )


def _successes(site: Site) -> Iterator[str]:
    for response in site.responses:
        if response.status != 200 or response.replayed:
            continue
        if response.kind == "pay" and not any(
            charge.at <= response.at for charge in _charges(site, response.transaction_id)
        ):
            yield f"{response.transaction_id} was answered 200, and was not charged"
        if response.kind == "refund" and not any(
            status == "succeeded"
            and at <= response.at
            and site.books.refunds[refund_id]["metadata"].get("refund_transaction_id")
            == response.transaction_id
            for at, refund_id, status in site.books.refund_log
        ):
            yield f"{response.transaction_id} was answered 200, and was not refunded"


def _state(site: Site, payment: Payment) -> Iterator[str]:
    """A record agrees with the gateway's records, and nothing is left open."""
    if payment.status in UNSETTLED:
        yield f"{payment.id} is still {payment.status}"
        return
    intents = _intents(site, payment.id)
    if payment.gateway_id and payment.gateway_id not in {intent["id"] for intent in intents}:
        yield f"{payment.id} has adopted {payment.gateway_id}"
    charged = [intent for intent in intents if intent["status"] == "succeeded"]
    if len(charged) > 1:
        yield f"{payment.id} is charged by {[intent['id'] for intent in charged]}"
    if charged and payment.status in UNPAID:
        yield f"{payment.id} is {payment.status}, and {charged[0]['id']} is charged"
    if not charged and payment.status in PAID:
        yield f"{payment.id} is {payment.status}, and nothing is charged"
    for refund in payment.refunds:
        if refund.pending:
            yield f"{refund.id} of {payment.id} is still pending"
    if charged:
        given_back = Decimal(site.books.refunded(charged[0]["id"])) / 100
        if payment.amount_refunded != given_back:
            yield f"{payment.id} has {payment.amount_refunded} refunded, Stripe has {given_back}"
    if payment.recover_after:
        yield f"{payment.id} is to be looked up for ever"
    if payment.status in UNSETTLED | PAID and payment.status != "refunded" and charged:
        holder = list(site.stores.ledger.search(100, booking_id=payment.booking_id))
        paid = [one for one in holder if one.status in ("completed", "partially_refunded")]
        if len(paid) > 1 and not _taken_back(site, paid):
            yield f"{payment.booking_id} is paid by {[one.id for one in paid]}"


def _taken_back(site: Site, paid: list[Payment]) -> bool:
    """Return whether a successful refund failed later and left a booking paid twice."""
    ids = {refund.gateway_id for payment in paid for refund in payment.refunds}
    logged = Counter(refund_id for _at, refund_id, _status in site.books.refund_log if refund_id in ids)
    return any(count > 1 for count in logged.values())


def _sums(payment: Payment) -> Iterator[str]:
    amounts: Counter[str] = Counter()
    for refund in payment.refunds:
        amounts[refund.status] += refund.amount  # type: ignore[assignment]
    completed = amounts[RefundStatus.COMPLETED]
    if payment.amount_refunded != completed:
        yield f"{payment.id}: amount_refunded is {payment.amount_refunded}, completed are {completed}"
    if payment.refund_reserved != completed + amounts[RefundStatus.PENDING]:
        yield f"{payment.id}: refund_reserved is {payment.refund_reserved}, of {amounts}"
    if payment.refund_reserved > payment.amount:
        yield f"{payment.id}: more is refunded than was paid: {payment.refund_reserved}"


def _events(site: Site, payment: Payment) -> Iterator[str]:
    """Every fact in a payment's history has one event, and every event is published."""
    published = {event.event_id for event in site.stores.broker.published}
    expected = [step.event_id for step in payment.history if step.event_id]
    for event_id in expected:
        if event_id not in published:
            yield f"event {event_id} of {payment.id} was never published"
    facts = Counter(
        step.status for step in payment.history if step.status in ("completed", "failed", "canceled")
    )
    statuses = [step.status for step in payment.history if step.event_id]
    for status in ("failed", "canceled"):
        if statuses.count(status) > 1:
            yield f"{payment.id} announced {status} {facts[status]} times"
    if payment.outbox:
        yield f"{payment.id} has unpublished events"


def _event_order(site: Site, payments: list[Payment]) -> Iterator[str]:
    """Events arrive for the first time in the order of their states."""
    first: dict[str, int] = {}
    for number, event in enumerate(site.stores.broker.published):
        first.setdefault(event.event_id, number)
    for payment in payments:
        steps = [step for step in payment.history if step.event_id in first]
        for earlier, later in pairwise(steps):
            # An earlier change may be stored later, after a pause. Events are published in the order of their
            # times.
            if earlier.at <= later.at and first[earlier.event_id or ""] > first[later.event_id or ""]:
                yield f"{payment.id}: events are out of order"
    for before, after in permutations(payments, 2):
        ends = [step for step in before.history if step.status in UNPAID and step.event_id in first]
        if before.booking_id == after.booking_id and ends and ends[0].at < after.created_at:
            end = first[ends[0].event_id or ""]
            if any(first[step.event_id] < end for step in after.history if step.event_id in first):
                yield f"{after.booking_id}: events are out of order"
    ours = {step.event_id for payment in payments for step in payment.history}
    for event in site.stores.broker.published:
        if event.event_id not in ours:
            yield f"event {event.event_id} {event.event_type} belongs to no fact on record"


def _replays(site: Site) -> Iterator[str]:
    """A stored response is replayed byte for byte; transient refusals are never stored."""
    first: dict[str, Response] = {}
    for response in site.responses:
        if response.key is None:
            continue
        if response.stored and response.status in _TRANSIENT:
            yield f"a transient {response.status} was stored for {response.key}"
        if response.stored:
            known = first.setdefault(response.key, response)
            if response.born - known.born >= KEY_LIFETIME.total_seconds():
                known = first[response.key] = response
            if (known.status, known.body) != (response.status, response.body):
                yield (
                    f"{response.key} was answered {known.status} {known.body.decode()}, "
                    f"then {response.status} {response.body.decode()}"
                )


def _unrecorded(site: Site, payments: list[Payment]) -> Iterator[str]:
    known = {payment.id for payment in payments}
    for charge in site.books.charges:
        if charge.intent["metadata"].get("transaction_id") not in known:
            yield f"{charge.intent['id']} is charged without a record"


def _mails(site: Site, payments: list[Payment]) -> Iterator[str]:
    """The customer is not notified of a request that the caller was asked to repeat."""
    refused = {response.transaction_id for response in site.responses if response.status == 502}
    for payment in payments:
        for step in payment.history:
            output = step.status == "failed" and step.actor == Actor.API and step.event_id
            if output and payment.error_code == "PAYMENT_GATEWAY_ERROR" and payment.id in refused:
                yield f"{payment.id} was answered 502, and announced as failed"


def _charges(site: Site, transaction_id: str) -> list[ChargeMade]:
    return [
        charge
        for charge in site.books.charges
        if charge.intent["metadata"].get("transaction_id") == transaction_id
    ]


def _refunds(site: Site, refund_id: str) -> list[dict[str, Any]]:
    return [
        refund
        for refund in site.books.refunds.values()
        if refund["metadata"].get("refund_transaction_id") == refund_id
    ]


def _intents(site: Site, transaction_id: str) -> list[dict[str, Any]]:
    return [
        intent
        for intent in site.books.intents.values()
        if not intent["foreign"]
        and intent["metadata"].get("transaction_id") == transaction_id
        and intent["metadata"].get("namespace") == NAMESPACE
    ]
