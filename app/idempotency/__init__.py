"""Store one final response for each Idempotency-Key, across processes and crashes.

Follows draft-ietf-httpapi-idempotency-key-header. A claim on the key is stored before anything else happens.
It has an owner, and only the owner stores a response. Once a crashed request can't be running any more,
another attempt takes its claim over, and finds the first attempt's work by the transaction id in the claim.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Protocol

from app.clock import utcnow
from app.errors import GatewayError, IdempotencyConflict, IdempotencyKeyReused, Problem, ServiceUnavailable
from app.telemetry import metrics
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: How long a key is remembered.
KEY_LIFETIME = timedelta(hours=24)

#: Time that a request may need in addition to the gateway's: writes wait for an election to end.
_LEASE_MARGIN = timedelta(seconds=45)

#: A claim that any request may take over.
_FREE = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response to replay: its status, some headers, and the bytes of its body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim on an Idempotency-Key.

    Attributes:
        id: hash of the API key and the idempotency key, which is scoped to it.
        fingerprint: hash of method, path, and body, to refuse the same key with another request.
        transaction_id: id of the request's payment or refund.
        owner: the attempt that holds the claim.
        response: the final response, once there is one.
    """

    id: str
    fingerprint: str
    transaction_id: str
    owner: str
    claimed_at: datetime
    created_at: datetime
    response: StoredResponse | None = None


class ClaimStore(Protocol):
    """Store of claims. Every method raises `ServiceUnavailable` if the database is unavailable."""

    def insert(self, claim: Claim) -> bool:
        """Store a new claim; False if its id exists."""

    def find(self, claim_id: str) -> Claim | None:
        """Return the claim with that id."""

    def replace(self, claim: Claim, **fields: object) -> bool:
        """Change fields of a claim that has no response and still has its owner; False if it has not."""

    def remove(self, claim: Claim) -> bool:
        """Delete a claim that has no response and still has its owner; False if it has not."""

    def remove_expired(self, claim_id: str, before: datetime) -> None:
        """Delete a claim if it was created before the given time."""


@dataclass(slots=True)
class Attempt:
    """One attempt to carry out a request.

    Attributes:
        transaction_id: the id for the payment or refund.
        resumed: whether an earlier attempt may have used that id.
        replayed: the final response, if the request was already carried out.
    """

    transaction_id: str
    resumed: bool = False
    replayed: StoredResponse | None = None
    _claim: Claim | None = field(default=None, repr=False)
    _store: ClaimStore | None = field(default=None, repr=False)
    _lease: timedelta = field(default=timedelta(0), repr=False)

    def restart(self, transaction_id: str) -> None:
        """Give the request a new transaction, because the old one ended without a final response.

        Raises:
            IdempotencyConflict: another attempt has taken the claim over.
        """
        if self._claim and self._store:
            if not self._store.replace(self._claim, transaction_id=transaction_id):
                raise _still_running()
            self._claim = replace(self._claim, transaction_id=transaction_id)
        self.transaction_id = transaction_id
        self.resumed = False

    def finish(self, response: StoredResponse) -> StoredResponse:
        """Store the final response.

        Returns:
            The response to send: that of another attempt, if it has stored one first. If the database is
            unavailable, the response is still sent, and the claim is taken over later.

        Raises:
            IdempotencyConflict: another attempt has taken the claim over, and stores the final response.
        """
        if self._claim is None or self._store is None:
            return response
        try:
            if self._store.replace(self._claim, response=response):
                return response
            newest = self._store.find(self._claim.id)
        except ServiceUnavailable:
            log.warning("idempotency record not written", transaction_id=self.transaction_id)
            return response
        if newest is None:
            return response
        if newest.response is None:
            raise _still_running()
        return newest.response

    def ended_by(self, problem: Problem) -> bool:
        """End the attempt with a problem. After a transient one, release the claim.

        Returns:
            Whether the problem is the request's final response.

        Raises:
            IdempotencyConflict: the transient problem says that nothing was done, but another attempt may
                have done it, or may yet.
        """
        if not problem.transient:
            return True
        if self._claim and self._store:
            # An earlier attempt may have succeeded where this one failed.
            doubtful = self.resumed and isinstance(problem, GatewayError | ServiceUnavailable)
            try:
                # After a database failure, the same id must be reused, because it may have been stored.
                if doubtful or isinstance(problem, ServiceUnavailable):
                    owned = self._store.replace(self._claim, claimed_at=_FREE)
                else:
                    owned = self._store.remove(self._claim)
            except ServiceUnavailable:
                log.warning("idempotency record not written", transaction_id=self.transaction_id)
                owned = utcnow() < self._claim.claimed_at + self._lease
            if doubtful or not owned:
                raise _still_running() from problem
        return False


def lease_for(gateway_time_budget: float) -> timedelta:
    """Return the longest time that an attempt can run, from the time limit of gateway calls in seconds."""
    return timedelta(seconds=gateway_time_budget) + _LEASE_MARGIN


def begin(
    store: ClaimStore, claim_id: str, fingerprint: str, transaction_id: str, lease: timedelta
) -> Attempt:
    """Claim an Idempotency-Key.

    Args:
        store: where claims are kept.
        claim_id: hash of the caller and the key.
        fingerprint: hash of the request.
        transaction_id: a new id, for the payment or refund that the request makes.
        lease: the longest time that an attempt can run.

    Raises:
        IdempotencyConflict: another attempt is still running.
        IdempotencyKeyReused: the key was used for another request.
        ServiceUnavailable: the claim could not be recorded; nothing was tried.
    """
    now = utcnow()
    claim = Claim(claim_id, fingerprint, transaction_id, secrets.token_hex(8), now, now)
    if store.insert(claim):
        return Attempt(transaction_id, _claim=claim, _store=store, _lease=lease)
    try:
        return _repeated(store, claim, lease)
    except ServiceUnavailable:
        # The first attempt may have charged, so the answer must not say that nothing was done.
        raise _still_running() from None


def _repeated(store: ClaimStore, claim: Claim, lease: timedelta) -> Attempt:
    """Return the attempt of a request whose key is known."""
    now, fingerprint = claim.claimed_at, claim.fingerprint
    first = store.find(claim.id)
    if first is None or first.created_at < now - KEY_LIFETIME:
        # It expired just now; MongoDB's TTL monitor is late by up to a minute.
        store.remove_expired(claim.id, now - KEY_LIFETIME)
        return begin(store, claim.id, fingerprint, claim.transaction_id, lease)
    if first.fingerprint != fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key was used for another request. Use a new key.")
    if first.response:
        metrics.REPLAYS.inc()
        return Attempt(first.transaction_id, replayed=first.response)
    if first.claimed_at > now - lease or not store.replace(first, owner=claim.owner, claimed_at=now):
        raise _still_running()
    own_claim = replace(first, owner=claim.owner, claimed_at=now)
    return Attempt(first.transaction_id, resumed=True, _claim=own_claim, _store=store, _lease=lease)


def _still_running() -> IdempotencyConflict:
    return IdempotencyConflict("The first request with this key is still running. Retry soon.")
