"""Handle the Idempotency-Key header: run a request once, and replay its response."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from flask import Response, request

from app.api.auth import caller
from app.api.errors import error_response
from app.api.json import loads
from app.canonical_json import canonical
from app.errors import InvalidRequest, Problem
from app.idempotency import Attempt, StoredResponse, begin, lease_for
from app.idempotency.mongo import MongoClaimStore
from app.ids import new_id
from app.services import services

_HEADER = "Idempotency-Key"
_MAX_KEY_LENGTH = 255
_KEPT_HEADERS = ("Content-Type", "Location", "Retry-After")


@dataclass
class Exchange:
    """A request and its response.

    Attributes:
        attempt: has the transaction's id, and whether an earlier attempt may have used it.
        response: set by the view, or by the replay of an earlier response.
    """

    attempt: Attempt
    response: Response | None = None

    @property
    def sent(self) -> Response:
        """Return the response, which must be set."""
        if self.response is None:
            raise ValueError("the view returned without setting a response")
        return self.response


@contextmanager
def run_once(prefix: str) -> Iterator[Exchange]:
    """Run the current request once for its Idempotency-Key.

    In the block the view sets the response, unless there is one. A `Problem` that the block raises becomes
    the response and is stored if it is final. A transient refusal is not stored, so the request can be
    repeated.

    Args:
        prefix: starts the new transaction id.

    Raises:
        InvalidRequest: the key is empty or too long.
        IdempotencyConflict: the first request is still running.
        IdempotencyKeyReused: the key was used for another request.
        ServiceUnavailable: the claim could not be recorded, or the block raised it; nothing was tried.
    """
    attempt = _begin(prefix)
    exchange = Exchange(attempt)
    if attempt.replayed:
        exchange.response = _response(attempt.replayed)
        exchange.response.headers["Idempotency-Replayed"] = "true"
        yield exchange
        return
    try:
        yield exchange
    except Problem as problem:
        if not attempt.ended_by(problem):
            raise
        exchange.response = error_response(problem.code, problem.message, problem.details)
    exchange.response = _finished(attempt, exchange.sent)


def _begin(prefix: str) -> Attempt:
    transaction_id = new_id(prefix)
    key = request.headers.get(_HEADER)
    if key is None:
        return Attempt(transaction_id)
    if not 1 <= len(key) <= _MAX_KEY_LENGTH:
        raise InvalidRequest(
            f"The header {_HEADER} must have 1 to {_MAX_KEY_LENGTH} characters.", field=_HEADER
        )
    key_bytes = key.encode("utf-8", "surrogateescape")
    claim_id = _digest(b"\0".join((caller().encode(), key_bytes)))
    lease = lease_for(services().settings.gateway_time_budget)
    return begin(MongoClaimStore(), claim_id, _fingerprint(key_bytes), transaction_id, lease)


def _fingerprint(key: bytes) -> str:
    """Return a hash of the request from which nobody can guess a card number.

    With card details, the hash is keyed with what MongoDB does not store: SUPPRESSION_KEY and the
    Idempotency-Key (PCI DSS, 3.5.1.1). It omits the security code, which may not be stored in any form (PCI
    DSS, 3.3.1). Other requests are not keyed, so that a new SUPPRESSION_KEY does not refuse their repetition.
    """
    body = loads(request.get_data(cache=True))
    secret = b""
    if isinstance(body, dict) and "card_details" in body:
        secret = services().settings.suppression_secret + b"\0" + key
        body = _without_security_code(body)
    text = canonical(body).encode("utf-8", "surrogatepass")
    content = b"\0".join((request.method.encode(), request.path.encode(), text))
    return hmac.new(secret, content, hashlib.sha256).hexdigest() if secret else _digest(content)


def _without_security_code(body: dict[str, Any]) -> dict[str, Any]:
    card = body["card_details"]
    if not isinstance(card, dict):
        return body
    return body | {"card_details": {name: value for name, value in card.items() if name != "cvv"}}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _finished(attempt: Attempt, response: Response) -> Response:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    own_response = StoredResponse(response.status_code, headers, response.get_data())
    stored = attempt.finish(own_response)
    return response if stored is own_response else _response(stored)


def _response(stored: StoredResponse) -> Response:
    return Response(stored.body, status=stored.status, headers=dict(stored.headers))
