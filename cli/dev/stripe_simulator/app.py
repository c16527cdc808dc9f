"""The HTTP side: authentication, idempotency, faults, and a table of endpoints."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, request

from cli.dev.stripe_simulator import intents, refunds
from cli.dev.stripe_simulator.control import blueprint
from cli.dev.stripe_simulator.errors import StripeFault
from cli.dev.stripe_simulator.faults import Faults, drop_connection
from cli.dev.stripe_simulator.forms import as_list, decode
from cli.dev.stripe_simulator.simulator import Simulator

#: Seconds that Stripe remembers an idempotency key: https://docs.stripe.com/api/idempotent_requests
_KEY_KEPT = 24 * 3600

Endpoint = Callable[..., dict[str, Any]]

_ENDPOINTS: tuple[tuple[str, str, Endpoint], ...] = (
    ("POST", "/v1/payment_intents", intents.create),
    ("GET", "/v1/payment_intents", intents.listing),
    ("GET", "/v1/payment_intents/<object_id>", intents.retrieve),
    ("POST", "/v1/payment_intents/<object_id>/confirm", intents.confirm),
    ("POST", "/v1/payment_intents/<object_id>/cancel", intents.cancel),
    ("POST", "/v1/refunds", refunds.create),
    ("GET", "/v1/refunds", refunds.listing),
    ("GET", "/v1/refunds/<object_id>", refunds.retrieve),
)


def create_app(sim: Simulator) -> Flask:
    """The simulator as a WSGI application."""
    app = Flask(__name__, static_folder=None)
    faults = Faults()
    app.register_blueprint(blueprint(sim, faults))
    app.register_error_handler(StripeFault, _fault)
    for method, path, endpoint in _ENDPOINTS:
        name = f"{endpoint.__module__.rpartition('.')[2]}_{endpoint.__name__}"
        app.add_url_rule(path, name, _view(sim, faults, endpoint), methods=[method])
    return app


def _fault(fault: StripeFault) -> Response:
    return _answer(fault.status, json.dumps(fault.body))


def _answer(status: int, body: str) -> Response:
    response = Response(body, status, mimetype="application/json")
    response.headers["Request-Id"] = Simulator.new_id("req")
    return response


def _view(sim: Simulator, faults: Faults, endpoint: Endpoint) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        fault = faults.take(f"{request.method} {request.path}")
        kind = fault.kind if fault else None
        if fault and kind == "error":
            return _answer(
                fault.status, json.dumps({"error": {"type": "api_error", "message": "On demand."}})
            )
        if kind == "drop_before":
            drop_connection()
        _authenticate()
        response = _run_once(sim, endpoint, list(ids.values()))
        if fault and kind == "delay":
            time.sleep(fault.seconds)
        if kind == "drop_after":
            drop_connection()
        return _answer(200, "<html>") if kind == "malformed" else response

    return view


def _authenticate() -> None:
    sent = request.authorization
    key = (sent.token or sent.username) if sent else None
    if not (key or "").startswith(("sk_test_", "rk_test_")):
        raise StripeFault(401, "You did not provide a valid API key (sk_test_…).")


def _run_once(sim: Simulator, endpoint: Endpoint, ids: list[str]) -> Response:
    """Run an endpoint, or answer as the first request with this idempotency key was answered."""
    params = decode((*request.args.items(multi=True), *request.form.items(multi=True)))
    key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
    if key is None:
        return _answer(*_run(sim, endpoint, ids, params, None))
    line = json.dumps([request.path, params], sort_keys=True)
    fingerprint = hashlib.sha256(line.encode()).hexdigest()
    first = sim.store.claim_key(key, fingerprint, sim.now(), _KEY_KEPT)
    if first is None:
        try:
            return _answer(*_run(sim, endpoint, ids, params, key))
        except StripeFault:
            # Refused before anything was done: nothing is remembered.
            sim.store.release_key(key)
            raise
    seen, status, body = first
    if seen != fingerprint:
        raise StripeFault(
            400,
            "An idempotency key can only be used again with the parameters it was first used with.",
            "idempotency_error",
        )
    if status is None:
        raise StripeFault(409, "A request with this key is running.", code="idempotency_key_in_use")
    response = _answer(status, body)
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _run(
    sim: Simulator, endpoint: Endpoint, ids: list[str], params: dict[str, Any], key: str | None
) -> tuple[int, str]:
    """Run an endpoint; what it does and the answer that is remembered are one transaction."""
    with sim.transaction():
        try:
            status, body = 200, endpoint(sim, *ids, params)
        except intents.Declined as declined:
            status, body = declined.fault.status, declined.fault.body
        text = json.dumps(_expanded(sim, body, params))
        if key is not None:
            sim.store.keep_answer(key, status, text)
    return status, text


def _expanded(sim: Simulator, body: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """`expand[]`: ids replaced by their objects. https://docs.stripe.com/api/expanding_objects"""
    found = {name: sim.store.get(body[name]) for name in as_list(params.get("expand")) if body.get(name)}
    return body | found
