"""Which attempt may respond to a request with an Idempotency-Key, and how."""

from datetime import timedelta

import pytest

from app.errors import (
    CancelNotAllowed,
    DuplicateTransaction,
    GatewayError,
    IdempotencyConflict,
    Problem,
    RefundNotAllowed,
    ServiceUnavailable,
)
from app.idempotency import Attempt, StoredResponse, begin
from app.idempotency.memory import MemoryClaimStore

NO_LEASE = timedelta(0)
LEASE = timedelta(minutes=1)
PAID = StoredResponse(200, {}, b"paid")
DECLINED = StoredResponse(400, {}, b"declined")


def attempt(store: MemoryClaimStore, lease: timedelta = LEASE) -> Attempt:
    return begin(store, "key", "request", "TXN-1", lease)


def two_attempts() -> tuple[Attempt, Attempt]:
    """A slow attempt, and the attempt that has taken over its claim."""
    store = MemoryClaimStore()
    return attempt(store, NO_LEASE), attempt(store, NO_LEASE)


@pytest.mark.parametrize("problem", [GatewayError("slow"), DuplicateTransaction("paid")])
def test_transient_refusal_of_a_first_attempt_is_its_response_and_is_not_stored(problem: Problem) -> None:
    store = MemoryClaimStore()
    assert not attempt(store).ended_by(problem)
    assert not attempt(store).resumed


def test_next_attempt_continues_after_a_database_failure() -> None:
    store = MemoryClaimStore()
    assert not attempt(store).ended_by(ServiceUnavailable("down"))
    assert attempt(store).resumed


def test_final_refusal_is_stored() -> None:
    assert attempt(MemoryClaimStore()).ended_by(RefundNotAllowed("too much"))


@pytest.mark.parametrize("problem", [GatewayError("slow"), ServiceUnavailable("down")])
def test_resumed_attempt_does_not_say_that_nothing_was_done(problem: Problem) -> None:
    _, resumed = two_attempts()
    with pytest.raises(IdempotencyConflict):
        resumed.ended_by(problem)


def test_resumed_attempt_returns_the_state_that_it_found() -> None:
    _, resumed = two_attempts()
    assert not resumed.ended_by(CancelNotAllowed("completed"))


@pytest.mark.parametrize("problem", [GatewayError("slow"), DuplicateTransaction("paid")])
def test_attempt_that_lost_its_claim_stores_no_refusal(problem: Problem) -> None:
    late, _ = two_attempts()
    with pytest.raises(IdempotencyConflict):
        late.ended_by(problem)


def test_attempt_that_lost_its_claim_sends_the_response_of_the_owner() -> None:
    late, owner = two_attempts()
    assert owner.finish(PAID) is PAID
    assert late.finish(DECLINED) is PAID


def test_attempt_that_lost_its_claim_has_no_response_before_the_owner() -> None:
    late, owner = two_attempts()
    with pytest.raises(IdempotencyConflict):
        late.finish(DECLINED)
    assert owner.finish(PAID) is PAID


class BrokenStore(MemoryClaimStore):
    def remove(self, claim: object) -> bool:
        raise ServiceUnavailable("down")


def test_refusal_within_the_lease_is_returned_even_if_the_claim_cannot_be_released() -> None:
    assert not attempt(BrokenStore()).ended_by(GatewayError("slow"))


def test_refusal_after_the_lease_may_be_of_an_attempt_that_lost_its_claim() -> None:
    with pytest.raises(IdempotencyConflict):
        attempt(BrokenStore(), NO_LEASE).ended_by(GatewayError("slow"))
