"""Store of bulk refunds in MongoDB, the only writer of runs and lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pymongo.errors
from bson.decimal128 import Decimal128

from app.errors import InvalidRequest
from app.models import RefundRun, RefundRunLine, storage_errors, storage_writes
from app.payments.bulk.records import Line, LineStatus, Run, RunStatus, Verdict

#: Only one run holds it at a time, so that the rate limit of a run applies to the deployment.
_SLOT = "executing"

_UNFINISHED = [RunStatus.RUNNING.value, RunStatus.STOPPED.value]


class RunStore:
    """Store of runs and lines, on the connection of `app.models.connect`. Stateless.

    Every method raises `ServiceUnavailable` if the database is unavailable.
    """

    def add(self, run: Run, lines: Sequence[Line]) -> None:
        """Store a run. It becomes visible after all of its lines are stored.

        Raises:
            Unacknowledged: the run may be stored.
        """
        # Not `storage_writes`: without their run, lines have no effect, whether MongoDB stored them or not.
        with storage_errors():
            RefundRunLine.collection().insert_many(
                [_line_document(run.id, line) for line in lines], ordered=False
            )
        with storage_writes():
            RefundRun.collection().insert_one(_run_document(run))

    def find(self, run_id: str) -> Run:
        """Return the run with that id.

        Raises:
            InvalidRequest: no run has this id.
        """
        with storage_errors():
            document = RefundRun.collection().find_one({"_id": run_id})
        if document is None:
            raise InvalidRequest(f"No bulk refund has the id {run_id}.")
        return _run(document)

    def newest(self, limit: int | None = None) -> list[Run]:
        """Return runs, newest first."""
        with storage_errors():
            found = RefundRun.collection().find().sort([("created_at", -1), ("_id", -1)]).limit(limit or 0)
            return [_run(document) for document in found]

    def unfinished(self, digest: str) -> Run | None:
        """Return the newest confirmed and unfinished run of a list."""
        query = {"digest": digest, "status": {"$in": _UNFINISHED}}
        with storage_errors():
            document = RefundRun.collection().find_one(query, sort=[("created_at", -1)])
        return None if document is None else _run(document)

    def lines(self, run_id: str) -> list[Line]:
        """Return the lines of a run, in the order of the list."""
        with storage_errors():
            found = RefundRunLine.collection().find({"run_id": run_id}).sort("number", 1)
            return [_line(document) for document in found]

    def count_open(self, run_id: str) -> int:
        """Return the number of open lines."""
        with storage_errors():
            query = {"run_id": run_id, "status": LineStatus.OPEN.value}
            return RefundRunLine.collection().count_documents(query)

    def begin(self, run_id: str, now: datetime) -> bool:
        """Start a planned or stopped run. Return whether there was one.

        Raises:
            Unacknowledged: the run may have started.
        """
        startable = {"_id": run_id, "status": {"$in": [RunStatus.PLANNED.value, RunStatus.STOPPED.value]}}
        change = {"$set": {"status": RunStatus.RUNNING.value, "confirmed_at": now}}
        with storage_writes():
            return RefundRun.compare_and_set(startable, change | {"$unset": {"retry_at": True}})

    def stop(self, run_id: str) -> bool:
        """Stop a run before its next refund. Return whether it was running."""
        running = {"_id": run_id, "status": RunStatus.RUNNING.value}
        with storage_writes():
            return RefundRun.compare_and_set(running, {"$set": {"status": RunStatus.STOPPED.value}})

    def waiting(self, now: datetime) -> list[str]:
        """Return the ids of the runs that a worker may carry out, in the order of their confirmation."""
        due = {"status": RunStatus.RUNNING.value, "$or": [{"retry_at": None}, {"retry_at": {"$lte": now}}]}
        with storage_errors():
            found = RefundRun.collection().find(due, ["_id"]).sort("confirmed_at", 1).limit(10)
            return [document["_id"] for document in found]

    def claim(self, run_id: str, token: str, now: datetime, until: datetime) -> bool:
        """Claim a confirmed run, unless a process is carrying out this run or another.

        Args:
            run_id: id of the run.
            token: id of the claim.
            now: the time, UTC.
            until: expiry of the claim.
        """
        abandoned = {"slot": _SLOT, "lease_until": {"$lte": now}}
        free = {"_id": run_id, "status": RunStatus.RUNNING.value, "slot": None}
        lease = {"slot": _SLOT, "lease_owner": token, "lease_until": until}
        with storage_writes():
            RefundRun.collection().update_one(abandoned, {"$unset": {"slot": True}})
            try:
                return RefundRun.compare_and_set(free, {"$set": lease, "$unset": {"retry_at": True}})
            except pymongo.errors.DuplicateKeyError:
                return False  # another run is in progress

    def renew(self, run_id: str, token: str, until: datetime) -> bool:
        """Extend a claim. Return whether the run is still claimed by us and not stopped."""
        condition = _held(run_id, token) | {"status": RunStatus.RUNNING.value}
        with storage_writes():
            return RefundRun.compare_and_set(condition, {"$set": {"lease_until": until}})

    def release(self, run_id: str, token: str, retry_at: datetime | None = None) -> None:
        """Release a claim.

        Args:
            run_id: id of the run.
            token: names the claim.
            retry_at: earliest time for workers to continue.
        """
        change: dict[str, Any] = {"$unset": {"slot": True, "lease_owner": True, "lease_until": True}}
        if retry_at:
            change["$set"] = {"retry_at": retry_at}
        with storage_writes():
            RefundRun.compare_and_set(_held(run_id, token), change)

    def finish(self, run_id: str, token: str, now: datetime) -> None:
        """Mark a run as finished."""
        change: dict[str, Any] = {"$set": {"status": RunStatus.FINISHED.value, "finished_at": now}}
        change["$unset"] = {"slot": True, "lease_owner": True, "lease_until": True}
        with storage_writes():
            RefundRun.compare_and_set(_held(run_id, token), change)

    def open_lines(self, run_id: str, limit: int) -> list[Line]:
        """Return open lines, those with the fewest lookups first."""
        query = {"run_id": run_id, "status": LineStatus.OPEN.value}
        with storage_errors():
            found = RefundRunLine.collection().find(query).sort([("looks", 1), ("number", 1)]).limit(limit)
            return [_line(document) for document in found]

    def close_line(self, run_id: str, line: Line, note: str | None = None) -> None:
        """Close a line."""
        change = {"status": LineStatus.CLOSED.value} | ({"note": note} if note else {})
        self._change_open(run_id, line, {"$set": change})

    def look_again(self, run_id: str, line: Line) -> None:
        """Record that a lookup left the outcome of a line unknown."""
        self._change_open(run_id, line, {"$set": {"looks": line.looks + 1}})

    def _change_open(self, run_id: str, line: Line, change: dict[str, Any]) -> None:
        with storage_writes():
            RefundRunLine.compare_and_set(
                {"_id": _line_id(run_id, line), "status": LineStatus.OPEN.value}, change
            )


def _held(run_id: str, token: str) -> dict[str, Any]:
    return {"_id": run_id, "slot": _SLOT, "lease_owner": token}


def _line_id(run_id: str, line: Line) -> str:
    return f"{run_id}:{line.number}"


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value is not None}


def _run_document(run: Run) -> dict[str, Any]:
    return _filled(
        {
            "_id": run.id,
            "status": run.status.value,
            "source": run.source,
            "digest": run.digest,
            "reason": run.reason,
            "rate": run.rate,
            "operator": run.operator,
            "line_count": run.line_count,
            "totals": [
                {"currency": currency, "amount": Decimal128(amount)}
                for currency, amount in run.totals.items()
            ],
            "created_at": run.created_at,
            "confirmed_at": run.confirmed_at,
        }
    )


def _run(document: dict[str, Any]) -> Run:
    return Run(
        id=document["_id"],
        status=RunStatus(document["status"]),
        source=document["source"],
        digest=document["digest"],
        reason=document["reason"],
        rate=document["rate"],
        operator=document["operator"],
        line_count=document["line_count"],
        created_at=document["created_at"],
        totals={total["currency"]: total["amount"].to_decimal() for total in document["totals"]},
        confirmed_at=document.get("confirmed_at"),
        finished_at=document.get("finished_at"),
        retry_at=document.get("retry_at"),
    )


def _line_document(run_id: str, line: Line) -> dict[str, Any]:
    return _filled(
        {
            "_id": _line_id(run_id, line),
            "run_id": run_id,
            "number": line.number,
            "transaction_id": line.transaction_id,
            "booking_id": line.booking_id,
            "amount": None if line.amount is None else Decimal128(line.amount),
            "currency": line.currency,
            "verdict": line.verdict.value,
            "status": line.status.value,
            "looks": line.looks,
        }
    )


def _line(document: dict[str, Any]) -> Line:
    amount = document.get("amount")
    return Line(
        number=document["number"],
        verdict=Verdict(document["verdict"]),
        transaction_id=document.get("transaction_id"),
        booking_id=document.get("booking_id"),
        amount=amount.to_decimal() if amount is not None else None,
        currency=document.get("currency"),
        status=LineStatus(document["status"]),
        looks=document.get("looks", 0),
        note=document.get("note"),
    )
