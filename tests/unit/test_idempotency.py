"""One final response for each Idempotency-Key, with claims in memory and a clock that the test moves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.errors import GatewayError, IdempotencyConflict, IdempotencyKeyReused, Problem, ServiceUnavailable
from app.idempotency import KEY_LIFETIME, Attempt, Claim, StoredResponse, begin
from app.idempotency.memory import MemoryClaimStore
from app.telemetry import metrics

START = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=77)
TICK = timedelta(milliseconds=1)
ANSWER = StoredResponse(200, {"Content-Type": "application/json"}, b'{"status":"success"}')
OTHER = StoredResponse(400, {}, b"{}")
DOWN = ServiceUnavailable("The database is unavailable.")
SLOW = GatewayError("The gateway is slow.")


class Site:
    """A store, and requests at the clock's time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store = MemoryClaimStore()
        self.now = START
        self._ids = iter(range(1, 100))
        monkeypatch.setattr("app.idempotency.utcnow", lambda: self.now)

    def request(self, fingerprint: str = "body", key: str = "key") -> Attempt:
        """Start an attempt, each with a new transaction id: TXN-1, TXN-2, …"""
        return begin(self.store, key, fingerprint, f"TXN-{next(self._ids)}", LEASE)

    def claim(self) -> Claim:
        found = self.store.find("key")
        assert found
        return found


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Site:
    return Site(monkeypatch)


def unavailable(*_: Any, **__: Any) -> Any:
    raise ServiceUnavailable("down")


def test_the_first_request_claims_its_key(site: Site) -> None:
    attempt = site.request()
    assert (attempt.transaction_id, attempt.resumed, attempt.replayed) == ("TXN-1", False, None)
    claim = site.claim()
    assert (claim.fingerprint, claim.transaction_id, claim.response) == ("body", "TXN-1", None)
    assert (claim.claimed_at, claim.created_at) == (START, START)
    assert len(claim.owner) == 16
    assert site.request(key="other").transaction_id == "TXN-2", "keys do not meet"


def test_the_final_response_is_replayed(site: Site) -> None:
    assert site.request().finish(ANSWER) is ANSWER
    before = metrics._REGISTRY.get_sample_value("movieapp_idempotent_replays_total") or 0.0
    again = site.request()
    assert (again.transaction_id, again.resumed, again.replayed) == ("TXN-1", False, ANSWER)
    assert metrics._REGISTRY.get_sample_value("movieapp_idempotent_replays_total") == before + 1


def test_a_repetition_is_a_conflict_while_the_first_request_runs(site: Site) -> None:
    site.request()
    for after in (timedelta(0), LEASE - TICK):
        site.now = START + after
        with pytest.raises(IdempotencyConflict, match=r"^The first request with this key is still running\."):
            site.request()


@pytest.mark.parametrize("finished", [True, False])
def test_a_key_with_another_request_is_refused(site: Site, finished: bool) -> None:
    first = site.request()
    if finished:
        first.finish(ANSWER)
    with pytest.raises(IdempotencyKeyReused, match=r"^This Idempotency-Key was used for another request\."):
        site.request("another body")


def test_an_interrupted_request_is_resumed_with_its_transaction_after_its_lease(site: Site) -> None:
    site.request()
    owner = site.claim().owner
    site.now = START + LEASE
    attempt = site.request()
    assert (attempt.transaction_id, attempt.resumed, attempt.replayed) == ("TXN-1", True, None)
    claim = site.claim()
    assert (claim.claimed_at, claim.created_at) == (START + LEASE, START)
    assert claim.owner != owner
    with pytest.raises(IdempotencyConflict):
        site.request()
    attempt.finish(ANSWER)
    assert site.request().replayed == ANSWER


@pytest.mark.parametrize("step", ["find", "replace"])
def test_a_repeated_request_is_never_reported_as_not_processed(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.request()
    site.now = START + LEASE

    def unavailable(*_: object, **__: object) -> None:
        raise ServiceUnavailable("The database is unavailable, so the request was not processed.")

    monkeypatch.setattr(site.store, step, unavailable)
    with pytest.raises(IdempotencyConflict):
        site.request()


def test_only_one_of_two_concurrent_takeovers_gets_the_claim(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = site.request()
    assert first
    site.now = START + LEASE
    find = site.store.find

    def find_and_lose(claim_id: str) -> Claim | None:
        monkeypatch.setattr(site.store, "find", find)
        found = find(claim_id)
        site.request()
        return found

    monkeypatch.setattr(site.store, "find", find_and_lose)
    with pytest.raises(IdempotencyConflict):
        site.request()


def test_a_request_that_lost_its_claim_returns_the_winners_response(site: Site) -> None:
    slow = site.request()
    site.now = START + LEASE
    site.request().finish(ANSWER)
    assert slow.finish(OTHER) == ANSWER
    assert site.request().replayed == ANSWER


def test_a_request_that_lost_its_claim_to_one_that_still_runs_has_no_response(site: Site) -> None:
    slow = site.request()
    site.now = START + LEASE
    running = site.request()
    with pytest.raises(IdempotencyConflict):
        slow.finish(OTHER)
    assert running.finish(ANSWER) is ANSWER
    assert site.request().replayed == ANSWER, "only the owner stores a response"


def test_a_key_expires_after_a_day(site: Site) -> None:
    site.request().finish(ANSWER)
    site.now = START + KEY_LIFETIME
    assert site.request().replayed == ANSWER
    site.now = START + KEY_LIFETIME + TICK
    attempt = site.request("another body")
    assert (attempt.replayed, attempt.resumed, site.claim().created_at) == (None, False, site.now)
    assert attempt.transaction_id == site.claim().transaction_id


def test_a_key_that_expired_between_two_reads_is_claimed_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.request().finish(ANSWER)
    find = site.store.find

    def find_nothing_once(claim_id: str) -> Claim | None:
        monkeypatch.setattr(site.store, "find", find)
        site.store.remove_expired(claim_id, START + TICK)
        return None

    monkeypatch.setattr(site.store, "find", find_nothing_once)
    attempt = site.request()
    assert (attempt.replayed, attempt.resumed) == (None, False)


def test_a_released_claim_is_resumed_at_once_with_its_transaction(site: Site) -> None:
    assert not site.request().ended_by(DOWN)
    attempt = site.request()
    assert (attempt.transaction_id, attempt.resumed) == ("TXN-1", True)


def test_a_deleted_claim_starts_from_the_beginning(site: Site) -> None:
    assert not site.request().ended_by(SLOW)
    attempt = site.request("another body")
    assert (attempt.transaction_id, attempt.resumed) == ("TXN-2", False)


def test_a_request_that_lost_its_claim_cannot_release_or_delete_it(site: Site) -> None:
    slow = site.request()
    site.now = START + LEASE
    site.request()
    claim = site.claim()
    for problem in (DOWN, SLOW):
        with pytest.raises(IdempotencyConflict):
            slow.ended_by(problem)
    assert site.claim() == claim


def test_a_restarted_request_has_a_new_transaction(site: Site) -> None:
    site.request()
    site.now = START + LEASE
    attempt = site.request()
    attempt.restart("TXN-NEW")
    assert (attempt.transaction_id, attempt.resumed) == ("TXN-NEW", False)
    assert site.claim().transaction_id == "TXN-NEW"
    attempt.finish(ANSWER)
    assert site.request().transaction_id == "TXN-NEW"


def test_a_request_that_lost_its_claim_cannot_restart(site: Site) -> None:
    slow = site.request()
    site.now = START + LEASE
    site.request()
    with pytest.raises(IdempotencyConflict):
        slow.restart("TXN-NEW")
    assert slow.transaction_id == "TXN-1"


def test_without_a_key_nothing_is_stored(site: Site) -> None:
    attempt = Attempt("TXN-1", resumed=True)
    assert attempt.finish(ANSWER) is ANSWER
    assert not attempt.ended_by(SLOW)
    assert not attempt.ended_by(DOWN)
    attempt.restart("TXN-2")
    assert (attempt.transaction_id, attempt.resumed) == ("TXN-2", False)


@pytest.mark.parametrize("method", ["replace", "find"])
def test_a_response_that_cannot_be_stored_is_still_sent(
    site: Site, monkeypatch: pytest.MonkeyPatch, log_lines: Any, method: str
) -> None:
    slow = site.request()
    site.now = START + LEASE
    site.request()
    monkeypatch.setattr(site.store, method, unavailable)
    assert slow.finish(OTHER) is OTHER
    (line,) = [line for line in log_lines() if line["message"] == "idempotency record not written"]
    assert (line["level"], line["transaction_id"]) == ("warning", "TXN-1")


@pytest.mark.parametrize(("problem", "method"), [(SLOW, "remove"), (DOWN, "replace")])
def test_a_claim_that_cannot_be_released_expires(
    site: Site, monkeypatch: pytest.MonkeyPatch, log_lines: Any, problem: Problem, method: str
) -> None:
    attempt = site.request()
    monkeypatch.setattr(site.store, method, unavailable)
    assert not attempt.ended_by(problem)
    (line,) = [line for line in log_lines() if line["message"] == "idempotency record not written"]
    assert line["transaction_id"] == "TXN-1"
    assert site.claim().claimed_at == START


def test_a_request_whose_claim_cannot_be_recorded_is_not_carried_out(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(site.store, "insert", unavailable)
    with pytest.raises(ServiceUnavailable):
        site.request()


def test_a_claims_repr_shows_no_response_body() -> None:
    attempt = Attempt(
        "TXN-1", _claim=replace(Claim("id", "f", "TXN-1", "owner", START, START), response=ANSWER)
    )
    assert "success" not in repr(attempt)
