"""`/_simulator`: control of the simulator, for tests and experiments.

GET    health                                   liveness
GET    state                                    all objects, and their numbers
POST   reset                                    delete everything
POST   clock {"advance_seconds": n}             move the clock
POST   faults {"match", "kind", …}, DELETE      see `faults`
POST   payment_intents/ID/authenticate {"outcome": …}          see `paying.OUTCOMES`
POST   refunds/ID/fail, refunds/ID/succeed
POST   charges/ID/dispute {"reason": …, "inquiry": false}      see `disputes`
POST   charges/ID/dispute/update {"status": …}, charges/ID/dispute/close {"status": …}
POST   charges/ID/early_fraud_warning
POST   events/ID/resend                         send its webhook again

With `"webhook": false` in the body, an action sends no events, to simulate lost webhooks.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from devtools.stripe_simulator import disputes, fraud_warnings, refunds
from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.paying import OUTCOMES, authenticate
from devtools.stripe_simulator.simulator import Simulator
from devtools.stripe_simulator.store import Record
from devtools.stripe_simulator.webhooks import undelivered

_KINDS = ("payment_intent", "charge", "refund", "dispute")

#: About ten years, so that times stay valid.
_MAX_JUMP_SECONDS = 10 * 366 * 86_400


def blueprint(sim: Simulator) -> Blueprint:
    """Return the routes for one simulator."""
    routes = Blueprint("control", __name__, url_prefix="/_simulator")

    @routes.get("/health")
    def health() -> ResponseReturnValue:
        return {"status": "ok", "now": sim.clock.now()}

    @routes.get("/state")
    def state() -> ResponseReturnValue:
        return _state(sim)

    @routes.post("/reset")
    def reset() -> ResponseReturnValue:
        sim.reset()
        return {"status": "ok"}

    @routes.post("/clock")
    def clock() -> ResponseReturnValue:
        seconds = _body().get("advance_seconds")
        if type(seconds) is not int or not 0 <= seconds <= _MAX_JUMP_SECONDS:
            raise StripeError(400, f"advance_seconds must be an integer from 0 to {_MAX_JUMP_SECONDS}.")
        sim.clock.advance(seconds)
        return {"now": sim.clock.now()}

    @routes.post("/faults")
    def add_fault() -> ResponseReturnValue:
        sim.faults.add(_body())
        return {"status": "ok"}

    @routes.delete("/faults")
    def clear_faults() -> ResponseReturnValue:
        sim.faults.clear()
        return {"status": "ok"}

    @routes.post("/payment_intents/<record_id>/authenticate")
    def authenticate_intent(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return authenticate(call, record_id, _one_of("outcome", OUTCOMES))

    @routes.post("/refunds/<record_id>/fail")
    def fail_refund(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return refunds.fail(call, record_id)

    @routes.post("/refunds/<record_id>/succeed")
    def succeed_refund(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return refunds.succeed(call, record_id)

    @routes.post("/charges/<record_id>/dispute")
    def dispute(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            reason, inquiry = _one_of("reason", disputes.REASONS), _flag("inquiry", False)
            return disputes.open_dispute(call, record_id, reason, inquiry=inquiry)

    @routes.post("/charges/<record_id>/dispute/update")
    def update_dispute(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return disputes.update_dispute(call, record_id, _one_of("status", disputes.OPEN))

    @routes.post("/charges/<record_id>/dispute/close")
    def close_dispute(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return disputes.close_dispute(call, record_id, _one_of("status", disputes.VERDICTS))

    @routes.post("/charges/<record_id>/early_fraud_warning")
    def warn_of_fraud(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            return fraud_warnings.create(call, record_id)

    @routes.post("/events/<record_id>/resend")
    def resend(record_id: str) -> ResponseReturnValue:
        with _call() as call:
            event = call.get("event", record_id)
        sim.resend(record_id)
        return event

    @contextmanager
    def _call() -> Iterator[Call]:
        with sim.call(request.host_url) as call:
            yield call
            if not _flag("webhook", True):
                call.events.clear()

    return routes


def _body() -> dict[str, Any]:
    """Return the request's JSON object; empty without a body."""
    if not request.get_data():
        return {}
    try:
        body = json.loads(request.get_data())
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise StripeError(400, "The body must be a JSON object.")
    return body


def _one_of(name: str, allowed: Sequence[str]) -> str:
    """Return a member of the body, by default the first of `allowed`."""
    value: str = _body().get(name, allowed[0])
    if value not in allowed:
        raise StripeError(400, f"{name} must be one of {', '.join(allowed)}.", param=name)
    return value


def _flag(name: str, default: bool) -> bool:
    value = _body().get(name, default)
    if not isinstance(value, bool):
        raise StripeError(400, f"{name} must be true or false.", param=name)
    return value


def _state(sim: Simulator) -> dict[str, Any]:
    found: dict[str, list[Record]] = {f"{kind}s": sim.store.all(kind) for kind in _KINDS}
    counts: dict[str, Any] = {
        name: {"total": len(records), **Counter(record["status"] for record in records)}
        for name, records in found.items()
    }
    counts["undelivered_webhooks"] = len(undelivered(sim.store))
    return {"counts": counts, **found}
