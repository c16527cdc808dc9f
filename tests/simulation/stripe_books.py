"""Stripe in memory: PaymentIntents, refunds, idempotency keys, and webhooks as Stripe documents them.

Sources: https://docs.stripe.com/api/idempotent_requests, https://docs.stripe.com/error-low-level,
https://docs.stripe.com/payments/paymentintents/lifecycle and https://docs.stripe.com/refunds.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.scheduler import START, Signal

if TYPE_CHECKING:
    from tests.simulation.world import World

#: Lifetime of an idempotency key in seconds.
KEY_LIFETIME_SECONDS = 24 * 3600

NAMESPACE = "shop"

#: Minimum amount of a payment, in minor units.
_MIN_AMOUNT = 50

_START = START.timestamp()
_CONFIRMABLE = ("requires_payment_method", "requires_confirmation", "requires_action")

#: Status, body, and whether it is the stored result of an earlier request.
Result = tuple[int, dict[str, Any], bool]


@dataclass(slots=True)
class Request:
    """A request in transit.

    Attributes:
        issuer: the actor that sent it, and the start time of that actor.
        stored_error: when the response is a 500: "before" or "after" the request was carried out.
        duration: seconds that Stripe takes for it.
    """

    method: str
    path: str
    params: dict[str, Any]
    key: str | None
    issuer: tuple[str, float]
    duration: float
    stored_error: str | None = None
    response: Signal = field(default_factory=Signal)


@dataclass(slots=True)
class _Key:
    created: float
    fingerprint: str
    result: Result | None = None


@dataclass(frozen=True, slots=True)
class ChargeMade:
    """A successful charge.

    Attributes:
        issuer: the actor whose request or confirmation charged it, and the start time of that actor.
    """

    at: float
    intent: dict[str, Any]
    issuer: tuple[str, float]


class StripeBooks:
    """Stripe's side.

    Args:
        world: time and randomness.
        deliver: called with each webhook delivery: (delay in seconds, event).
    """

    def __init__(self, world: World, deliver: Callable[[float, dict[str, Any]], None]) -> None:
        self._world = world
        self._deliver = deliver
        self._keys: dict[str, _Key] = {}
        self._next_number = 0
        self.random = random.Random(f"{world.seed}/stripe")
        self.intents: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.charges: list[ChargeMade] = []
        #: Final statuses of refunds: (time, refund's id, status).
        self.refund_log: list[tuple[float, str, str]] = []

    # Requests

    def arrive(self, request: Request) -> None:
        """Handle a request that reaches Stripe, and signal the response, even if no one waits for it."""
        if request.method == "get":
            self._world.set(request.response, self._read(request.path, request.params))
            return
        key = request.key or ""
        fingerprint = f"{request.path} {request.params}"
        known = self._keys.get(key)
        if known and self._world.now - known.created >= KEY_LIFETIME_SECONDS:
            del self._keys[key]
            known = None
        if known:
            if known.result is None:
                result = _error(409, "idempotency_error", "idempotency_key_in_use")
            elif known.fingerprint != fingerprint:
                result = _error(400, "idempotency_error", None)
            else:
                result = (*known.result[:2], True)
            self._world.log(f"stripe repeats {key}: {result[0]}")
            self._world.set(request.response, result)
            return
        if request.path == "/v1/payment_intents" and request.params["amount"] < _MIN_AMOUNT:
            # An invalid request is not stored under its key.
            self._world.set(request.response, _error(400, "invalid_request_error", "amount_too_small"))
            return
        self._keys[key] = _Key(self._world.now, fingerprint)
        self._world.after(request.duration, lambda: self._finish(request))

    def _finish(self, request: Request) -> None:
        if request.stored_error == "before":
            result = _error(500, "api_error", None)
        else:
            result = self._execute(request)
            if request.stored_error:
                result = _error(500, "api_error", None)
        self._world.log(
            f"stripe executes {request.path} {request.key} of {request.issuer[0]}: {_summary(result)}"
        )
        self._keys[request.key or ""].result = result
        self._world.set(request.response, result)

    def _execute(self, request: Request) -> Result:
        parts = request.path.split("/")[2:]
        match parts:
            case ["payment_intents"]:
                return self._create_intent(request.params, request.issuer)
            case ["payment_intents", intent_id, "cancel"]:
                return self._cancel(intent_id, request.params)
            case ["refunds"]:
                return self._create_refund(request.params)
        raise AssertionError(f"not simulated: {request.path}")

    def _read(self, path: str, params: dict[str, Any]) -> Result:
        match path.split("/")[2:]:
            case ["payment_intents", intent_id]:
                found = self.intents.get(intent_id)
            case ["refunds", refund_id]:
                found = self.refunds.get(refund_id)
            case ["payment_intents"]:
                return _page(self.intents, params)
            case ["refunds"]:
                return _page(self.refunds, params)
            case ["disputes"]:
                return _page({}, params)
            case _:
                raise AssertionError(f"not simulated: {path}")
        return (
            (200, dict(found), False) if found else _error(404, "invalid_request_error", "resource_missing")
        )

    # PaymentIntents

    def _new(self, prefix: str, kind: str, **fields: Any) -> dict[str, Any]:
        self._next_number += 1
        created = int(_START + self._world.now + self._world.plan.clock_skew)
        return {"id": f"{prefix}_{self._next_number}", "object": kind, "created": created, **fields}

    def _create_intent(self, params: dict[str, Any], issuer: tuple[str, float]) -> Result:
        method = params.get("payment_method") or ""
        intent = self._new(
            "pi",
            "payment_intent",
            amount=params["amount"],
            currency=params["currency"],
            status="requires_payment_method",
            metadata=dict(params.get("metadata") or {}),
            automatic_payment_methods=params.get("automatic_payment_methods"),
            latest_charge=None,
            last_payment_error=None,
            next_action=None,
            foreign=False,
            stray=False,
        )
        intent["client_secret"] = f"{intent['id']}_secret"
        self.intents[intent["id"]] = intent
        if not params.get("confirm"):
            return 200, dict(intent), False
        match method:
            case "pm_declined":
                return self._decline(intent)
            case "pm_authenticates":
                intent |= {"status": "requires_action", "next_action": {"type": "use_stripe_sdk"}}
                self.emit("payment_intent.requires_action", intent)
            case "pm_processes":
                intent["status"] = "processing"
                self.emit("payment_intent.processing", intent)
                delay, succeeds = self._later(), self.random.random() < 0.6
                self._world.after(delay, lambda: self._end_processing(intent, succeeds, issuer))
            case _:
                self._succeed(intent, issuer)
        return 200, dict(intent), False

    def _later(self) -> float:
        """Return the seconds until something asynchronous ends, from seconds to hours."""
        return float(2 * 3000 ** self.random.random())

    def _end_processing(self, intent: dict[str, Any], succeeds: bool, issuer: tuple[str, float]) -> None:
        if intent["status"] != "processing":
            return
        if succeeds:
            self._succeed(intent, issuer)
        else:
            self._decline(intent)

    def _decline(self, intent: dict[str, Any]) -> Result:
        error = {"type": "card_error", "code": "card_declined", "decline_code": "generic_decline"}
        intent |= {"status": "requires_payment_method", "last_payment_error": error, "next_action": None}
        self.emit("payment_intent.payment_failed", intent)
        return 402, {"error": error | {"payment_intent": dict(intent)}}, False

    def _succeed(self, intent: dict[str, Any], issuer: tuple[str, float]) -> None:
        card = {"brand": "visa", "last4": "4242", "fingerprint": "f1"}
        intent |= {
            "status": "succeeded",
            "next_action": None,
            "latest_charge": {"payment_method_details": {"card": card}},
        }
        self._world.log(f"stripe CHARGES {intent['id']} {intent['metadata'].get('transaction_id')}")
        if not intent["foreign"]:
            if not intent["stray"]:
                self._check_single_charge(intent)
            self.charges.append(ChargeMade(self._world.now, intent, issuer))
        self.emit("payment_intent.succeeded", intent)

    def _check_single_charge(self, intent: dict[str, Any]) -> None:
        booking = intent["metadata"].get("booking_id")
        for other in self.intents.values():
            if (
                other is not intent
                and not other["foreign"]
                and not other["stray"]
                and other["status"] == "succeeded"
                and other["metadata"].get("booking_id") == booking
                and self._ever_refunded(other["id"]) < other["amount"]
            ):
                self._world.problem(f"{booking} is charged by {other['id']} and by {intent['id']}")

    def _ever_refunded(self, intent_id: str) -> int:
        """Return the refunded amount of a charge, including refunds that failed later."""
        succeeded = {refund_id for _at, refund_id, status in self.refund_log if status == "succeeded"}
        return sum(
            self.refunds[one]["amount"]
            for one in succeeded
            if self.refunds[one]["payment_intent"] == intent_id
        )

    def _cancel(self, intent_id: str, params: dict[str, Any]) -> Result:
        intent = self.intents[intent_id]
        if intent["status"] == "canceled" or intent["status"] not in _CONFIRMABLE:
            return _error(400, "invalid_request_error", "payment_intent_unexpected_state")
        reason = params.get("cancellation_reason")
        intent |= {"status": "canceled", "next_action": None, "cancellation_reason": reason}
        self.emit("payment_intent.canceled", intent)
        return 200, dict(intent), False

    def confirm(self, secret: str, succeeds: bool, issuer: tuple[str, float]) -> None:
        """Confirm a payment in the customer's browser, if that is still possible."""
        intent = self.intents[secret.removesuffix("_secret")]
        if intent["status"] not in _CONFIRMABLE:
            return
        if succeeds:
            self._succeed(intent, issuer)
        else:
            self._decline(intent)

    # Refunds

    def refunded(self, intent_id: str, *statuses: str) -> int:
        """Return the refunded amount of a charge, in minor units."""
        expected = statuses or ("succeeded",)
        return sum(
            refund["amount"]
            for refund in self.refunds.values()
            if refund["payment_intent"] == intent_id and refund["status"] in expected
        )

    def _create_refund(self, params: dict[str, Any]) -> Result:
        intent = self.intents[params["payment_intent"]]
        left = intent["amount"] - self.refunded(intent["id"], "succeeded", "pending")
        if intent["status"] != "succeeded" or params["amount"] > left:
            return _error(400, "invalid_request_error", "charge_already_refunded")
        return 200, dict(self.make_refund(intent, params["amount"], params.get("metadata") or {})), False

    def make_refund(self, intent: dict[str, Any], amount: int, metadata: dict[str, str]) -> dict[str, Any]:
        """Refund a charge, with a random outcome."""
        varies = self._world.plan.refunds_vary and not self._world.healed
        fate = self.random.random() if varies else 0.0
        refund = self._new(
            "re",
            "refund",
            amount=amount,
            currency=intent["currency"],
            payment_intent=intent["id"],
            metadata=dict(metadata),
            status="succeeded" if fate < 0.7 else "pending",
        )
        self.refunds[refund["id"]] = refund
        self._world.log(f"stripe refunds {amount} of {intent['id']}: {refund['id']} {refund['status']}")
        if fate < 0.7:
            self.refund_log.append((self._world.now, refund["id"], "succeeded"))
        self.emit("refund.created", refund)
        if fate >= 0.7:
            status = "failed" if fate >= 0.85 else "succeeded"
            self._world.after(self._later(), lambda: self._end_refund(refund, status))
        elif fate >= 0.6:
            self._world.after(self._later(), lambda: self._end_refund(refund, "failed"))
        return refund

    def _end_refund(self, refund: dict[str, Any], status: str) -> None:
        refund["status"] = status
        if status == "failed":
            refund["failure_reason"] = "expired_or_canceled_card"
        self._world.log(f"stripe refund {refund['id']} {status}")
        self.refund_log.append((self._world.now, refund["id"], status))
        self.emit("refund.failed" if status == "failed" else "refund.updated", refund)

    # Actions of other applications on the account

    def make_foreign(self, metadata: dict[str, str], amount: int, currency: str) -> None:
        """Charge a card for another application on the same account, with possibly copied metadata."""
        intent = self._new(
            "pi",
            "payment_intent",
            amount=amount,
            currency=currency,
            status="requires_confirmation",
            metadata=metadata,
            automatic_payment_methods=None,
            latest_charge=None,
            last_payment_error=None,
            next_action=None,
            foreign=True,
            stray=False,
        )
        self.intents[intent["id"]] = intent
        self._succeed(intent, ("foreign", self._world.now))

    # Webhooks

    def emit(self, event_type: str, subject: dict[str, Any]) -> None:
        """Deliver an event as planned: late, duplicated, reordered, or never."""
        self._next_number += 1
        event = {
            "id": f"evt_{self._next_number}",
            "type": event_type,
            "created": int(_START + self._world.now),
            "data": dict(subject),
        }
        for _ in range(self.random.choice(self._world.plan.deliveries)):
            self._deliver(float(0.2 * self._world.plan.webhook_delay ** self.random.random()), event)


def _error(status: int, kind: str, code: str | None) -> Result:
    return status, {"error": {"type": kind, "code": code, "message": f"{status} {code}"}}, False


def _page(objects: dict[str, dict[str, Any]], params: dict[str, Any]) -> Result:
    created = params.get("created") or {}
    least, most = created.get("gte", 0), created.get("lte", float("inf"))
    intent = params.get("payment_intent")
    data = [
        dict(one)
        for one in reversed(objects.values())
        if least <= one["created"] <= most and (intent is None or one["payment_intent"] == intent)
    ]
    return 200, {"object": "list", "data": data, "has_more": False}, False


def _summary(result: Result) -> str:
    status, body, _replayed = result
    found = body.get("error") or body
    return f"{status} {found.get('id') or found.get('code') or ''} {found.get('status') or ''}".strip()
