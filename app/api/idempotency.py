"""The Idempotency-Key header: the first answer again, byte for byte.

Follows draft-ietf-httpapi-idempotency-key-header. The truth is a document with a unique id in MongoDB: it
survives Redis and the process. A claim left behind by a crash is taken over once its request can't be
running any more, and finds by the transaction's id, chosen with the claim, what the first request had done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from flask import Request, Response
from mongoengine.errors import NotUniqueError

from app.api.json import loads
from app.clock import utcnow
from app.errors import IdempotencyConflict, IdempotencyKeyReused, InvalidRequest, ServiceUnavailable
from app.models import IdempotencyRecord, storage_errors
from app.models.idempotency import KEPT_SECONDS
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

_HEADER = "Idempotency-Key"
_KEPT_HEADERS = ("Content-Type", "Location", "Retry-After")

#: Seconds that a request may need besides the gateway's time.
_MARGIN = 10

#: A claim made so long ago that anyone may take it over.
_FREE = datetime(1970, 1, 1, tzinfo=UTC)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _canonical(request: Request) -> bytes:
    """The body without what JSON does not mean: white space and the order of names."""
    return json.dumps(loads(request.get_data(cache=True)), sort_keys=True, default=str).encode()


def answer_once(
    request: Request, settings: Settings, caller: str, new_id: str, run: Callable[[str, bool], Response]
) -> Response:
    """Run a request, or answer as it was answered before.

    Args:
        request: the request; without an Idempotency-Key it just runs.
        settings: gives the longest time that a first request can be running.
        caller: who asks; keys of one caller are unknown to another.
        new_id: an id for the transaction that the request may make.
        run: called with the transaction's id, and whether an earlier try may have used that id already.

    Raises:
        InvalidRequest: the key is empty or too long.
        IdempotencyConflict: the first request is still running.
        IdempotencyKeyReused: the key came before with another request.
        ServiceUnavailable: the claim could not be recorded, or `run` raised it; nothing was tried.
    """
    key = request.headers.get(_HEADER)
    if key is None:
        return run(new_id, False)
    if not 1 <= len(key) <= 255:
        raise InvalidRequest(f"{_HEADER} must have 1 to 255 characters.", field=_HEADER)

    record_id = _digest(caller.encode(), key.encode("utf-8", "surrogateescape"))
    fingerprint = _digest(request.method.encode(), request.path.encode(), _canonical(request))
    now = utcnow()
    claim = IdempotencyRecord(
        id=record_id, fingerprint=fingerprint, transaction_id=new_id, claimed_at=now, created_at=now
    )
    with storage_errors():
        try:
            claim.insert()
        except NotUniqueError:
            first = IdempotencyRecord.objects(id=record_id).first()
        else:
            return _run_claimed(claim, new_id, False, run)

    if first is None or first.created_at < now - timedelta(seconds=KEPT_SECONDS):
        # It expired just now; MongoDB's TTL monitor is late by up to a minute.
        with storage_errors():
            IdempotencyRecord.objects(
                id=record_id, created_at__lt=now - timedelta(seconds=KEPT_SECONDS)
            ).delete()
        return answer_once(request, settings, caller, new_id, run)
    if first.fingerprint != fingerprint:
        raise IdempotencyKeyReused(f"This {_HEADER} was used for another request. Use a new one.")
    if first.status is not None:
        return _replay(first)
    if not _take_over(first, now, settings):
        raise IdempotencyConflict("The first request with this key is still running. Ask again soon.")
    return _run_claimed(first, first.transaction_id, True, run)


def _run_claimed(
    claim: IdempotencyRecord, transaction_id: str, again: bool, run: Callable[[str, bool], Response]
) -> Response:
    """Run and keep the answer. After a crash in here the claim waits to be taken over."""
    try:
        response = run(transaction_id, again)
    except ServiceUnavailable:
        # Nothing was tried as far as we know: free for the client's next try, with the same transaction id.
        _keep(claim, claimed_at=_FREE)
        raise
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    _keep(claim, status=response.status_code, headers=headers, body=response.get_data())
    return response


def _keep(claim: IdempotencyRecord, **fields: object) -> None:
    """Store `fields`; if MongoDB is away, the answer goes out all the same and the claim stays stale."""
    try:
        with storage_errors():
            IdempotencyRecord.compare_and_set({"_id": claim.id}, {"$set": fields})
    except ServiceUnavailable:
        log.warning("idempotency record not written", transaction_id=claim.transaction_id)


def _replay(first: IdempotencyRecord) -> Response:
    response = Response(first.body, status=first.status, headers=dict(first.headers))
    response.headers["Idempotency-Replayed"] = "true"
    metrics.REPLAYS.inc()
    return response


def _take_over(first: IdempotencyRecord, now: datetime, settings: Settings) -> bool:
    """Whether the claim was stale and is ours now. One of many who try gets it."""
    lease = timedelta(seconds=settings.gateway_time_budget + _MARGIN)
    if first.claimed_at > now - lease:
        return False
    with storage_errors():
        stale = IdempotencyRecord.objects(id=first.id, status=None, claimed_at=first.claimed_at)
        return bool(stale.update_one(set__claimed_at=now))
