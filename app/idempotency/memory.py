"""In-memory store of claims, for the simulation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from app.idempotency import Claim


class MemoryClaimStore:
    """A `ClaimStore` in memory. Not safe for threads."""

    def __init__(self) -> None:
        self._claims: dict[str, Claim] = {}

    def insert(self, claim: Claim) -> bool:
        return self._claims.setdefault(claim.id, claim) is claim

    def find(self, claim_id: str) -> Claim | None:
        return self._claims.get(claim_id)

    def replace(self, claim: Claim, **fields: object) -> bool:
        stored = self._claims.get(claim.id)
        if stored is None or stored.response or stored.owner != claim.owner:
            return False
        self._claims[claim.id] = replace(stored, **fields)  # type: ignore[arg-type]
        return True

    def remove(self, claim: Claim) -> bool:
        stored = self._claims.get(claim.id)
        if stored is None or stored.response or stored.owner != claim.owner:
            return False
        del self._claims[claim.id]
        return True

    def remove_expired(self, claim_id: str, before: datetime) -> None:
        stored = self._claims.get(claim_id)
        if stored and stored.created_at < before:
            del self._claims[claim_id]
