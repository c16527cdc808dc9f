"""The HTTP layer: API keys, idempotency, faults, and the table of endpoints."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException

from devtools.stripe_simulator import (
    balance,
    browser,
    control,
    intents,
    pages,
    payment_methods,
    reading,
    refunds,
)
from devtools.stripe_simulator.call import API_VERSION, new_id
from devtools.stripe_simulator.errors import Dropped, ExecutionError, StripeError
from devtools.stripe_simulator.expansion import expand
from devtools.stripe_simulator.faults import Fault
from devtools.stripe_simulator.forms import decode
from devtools.stripe_simulator.idempotency import Claim, StoredResponse
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.simulator import Simulator
from devtools.stripe_simulator.store import Record, Store
from devtools.stripe_simulator.webhooks import Endpoint

#: Takes a call, the parameters, and the object's id if the path has one.
Operation = Callable[..., Record]

_ENDPOINTS: tuple[tuple[str, str, Operation], ...] = (
    ("GET", "/v1/balance", balance.retrieve),
    ("POST", "/v1/payment_intents", intents.create),
    ("GET", "/v1/payment_intents", reading.listing("payment_intent")),
    ("GET", "/v1/payment_intents/<record_id>", reading.retrieve("payment_intent")),
    ("POST", "/v1/payment_intents/<record_id>", intents.update),
    ("POST", "/v1/payment_intents/<record_id>/confirm", intents.confirm),
    ("POST", "/v1/payment_intents/<record_id>/cancel", intents.cancel),
    ("POST", "/v1/payment_methods", payment_methods.create),
    ("GET", "/v1/payment_methods/<record_id>", payment_methods.retrieve),
    ("GET", "/v1/charges", reading.listing("charge", "payment_intent")),
    ("GET", "/v1/charges/<record_id>", reading.retrieve("charge")),
    ("POST", "/v1/refunds", refunds.create),
    ("GET", "/v1/refunds", reading.listing("refund", "payment_intent", "charge")),
    ("GET", "/v1/refunds/<record_id>", reading.retrieve("refund")),
    ("GET", "/v1/disputes", reading.listing("dispute", "payment_intent", "charge")),
    ("GET", "/v1/disputes/<record_id>", reading.retrieve("dispute")),
    (
        "GET",
        "/v1/radar/early_fraud_warnings",
        reading.listing("radar.early_fraud_warning", "payment_intent", "charge"),
    ),
    ("GET", "/v1/events", reading.listing("event", "type")),
    ("GET", "/v1/events/<record_id>", reading.retrieve("event")),
)

#: Handlers of the only endpoints that a publishable key may call.
_BROWSER_ENDPOINTS: dict[tuple[str, str], Operation] = {
    ("GET", "/v1/payment_intents/<record_id>"): browser.retrieve,
    ("POST", "/v1/payment_intents/<record_id>/confirm"): browser.confirm,
}

_TEST_KEY = re.compile(r"([rsp])k_test_\w+")

_MAX_BODY_BYTES = 1_000_000


def open_app(db: str, webhook_url: str, webhook_secret: str) -> Flask:
    """Return the simulator of the account in the SQLite file `db`; gunicorn calls it in its worker process.

    Args:
        webhook_url: where events are sent; empty to send none.
        webhook_secret: signs them.
    """
    endpoint = Endpoint(webhook_url, webhook_secret) if webhook_url else None
    return create_app(Simulator(Store(Path(db)), endpoint))


def create_app(sim: Simulator) -> Flask:
    """Return the simulator as a WSGI application."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = _MAX_BODY_BYTES
    app.before_request(_name_request)
    app.after_request(_add_headers)
    app.register_error_handler(StripeError, _error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Dropped, _drop)
    app.register_blueprint(control.blueprint(sim))
    app.register_blueprint(pages.blueprint(sim))
    for method, path, operation in _ENDPOINTS:
        for_browser = _BROWSER_ENDPOINTS.get((method, path))
        app.add_url_rule(path, f"{method} {path}", _view(sim, operation, for_browser), methods=[method])
    return app


def _view(sim: Simulator, for_shop: Operation, for_browser: Operation | None) -> Callable[..., Response]:
    def view(**ids: str) -> Response:
        operation = for_browser if g.is_publishable else for_shop
        if operation is None:
            raise browser.refuse_publishable_key()
        params = decode((*request.args.items(multi=True), *request.form.items(multi=True)))
        key = request.headers.get("Idempotency-Key") if request.method == "POST" else None
        with sim.idempotency.claim(g.api_key, key, request.path, params) as claim:
            fault = sim.faults.take(request.method, request.path)
            if fault:
                fault.before_work()
            stored = claim.stored or _execute(sim, operation, ids, Params(params), claim, fault)
        if fault:
            fault.after_work()
        malformed = fault is not None and fault.kind == "malformed"
        response = _json(HTTPStatus.OK, "<html>") if malformed else _json(stored.status, stored.body)
        if claim.key:
            response.headers["Original-Request"] = stored.request_id
        if claim.stored:
            response.headers["Idempotent-Replayed"] = "true"
        return response

    return view


def _execute(
    sim: Simulator,
    operation: Operation,
    ids: dict[str, str],
    params: Params,
    claim: Claim,
    fault: Fault | None,
) -> StoredResponse:
    """Run an endpoint. Its writes and the stored response form one transaction."""
    try:
        with sim.call(request.host_url, g.request_id, claim.key) as call:
            error_fault = fault if fault and fault.kind == "error" else None
            call.pending = fault is not None and fault.kind == "pending"
            try:
                if error_fault is None or error_fault.after:
                    status, record = 200, operation(call, params, **ids)
                    record = expand(call.store, record, params.items("expand"))
            except ExecutionError as error:
                status, record = error.status, error.body
            if error_fault:
                status, record = error_fault.status, error_fault.error().body
            if fault and not fault.webhook:
                call.events.clear()
            response = StoredResponse(status, json.dumps(record), g.request_id)
            claim.keep(response)
    except StripeError as error:
        return StoredResponse(error.status, json.dumps(error.body), g.request_id)
    return response


def _name_request() -> None:
    """Give the request an id and, under /v1, require an API key."""
    g.request_id = new_id("req")
    # An unread body would end the keep-alive connection.
    request.get_data()
    if not request.path.startswith("/v1/"):
        return
    sent = request.authorization
    # Stripe.js sends its key in the body, which needs no preflight request of the browser.
    g.api_key = (sent.token or sent.username or "") if sent else request.values.get("key", "")
    if not g.api_key:
        raise StripeError(401, "You did not provide an API key (Authorization: Bearer sk_test_…).")
    kind = _TEST_KEY.fullmatch(g.api_key)
    if not kind or (kind[1] != "p" and not sent):
        # The key is not echoed, because it may be a live one.
        raise StripeError(401, "Invalid API key: the simulator accepts only test keys (sk_test_…).")
    g.is_publishable = kind[1] == "p"


def _add_headers(response: Response) -> Response:
    response.headers["Request-Id"] = g.request_id
    response.headers["Access-Control-Allow-Origin"] = "*"
    response.headers["Stripe-Version"] = request.headers.get("Stripe-Version", API_VERSION)
    if response.status_code == HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = 'Basic realm="Stripe"'
    return response


def _error(error: StripeError) -> Response:
    response = _json(error.status, json.dumps(error.body))
    if error.body["error"].get("code") == "rate_limit":
        response.headers["Stripe-Rate-Limited-Reason"] = "global-rate"
    return response


def _http_error(error: HTTPException) -> Response:
    """Return Flask's errors, such as unknown paths, in Stripe's format."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "api_error"
    message = f"{error.name} ({request.method}: {request.path})."
    return _error(StripeError(status, message, kind=kind))


def _drop(_dropped: Dropped) -> Response:
    """Close the client's TCP connection. The response that Flask requires is never sent."""
    connection: socket.socket = request.environ["gunicorn.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    return Response()


def _json(status: int, body: str) -> Response:
    return Response(body, status, mimetype="application/json")
