"""Filters of lists: query arguments as database conditions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from flask import g, request
from werkzeug.exceptions import BadRequest

from app.clock import from_iso, iso, utcnow
from app.dashboard.access import PERSONAL
from app.dashboard.blueprint import argument, settings
from app.dashboard.present import masked
from app.operations import listing
from app.operations.attention import issue_filters
from app.operations.listing import Condition, Document, Position
from app.operations.reasons import reason_of

if TYPE_CHECKING:
    from collections.abc import Iterable

#: URL parameters that filter a list.
NAMES = ("search", "status", "issue", "reason", "template", "channel", "from", "until")


@dataclass(frozen=True)
class Criteria:
    """The filters of a list.

    Attributes:
        chosen: argument → value, for the arguments that are given.
        base: the filters as one condition, without the search.
        queries: conditions, one for each index; a record must meet one of them.
        accept: checks what the conditions can't express; None if nothing is left to check.
    """

    chosen: dict[str, str]
    base: Condition
    queries: list[Condition]
    accept: Callable[[Document], bool] | None = None


def payment_criteria() -> Criteria:
    """Return the filters of the list of payments."""
    chosen = _form_filters()
    conditions = _common(chosen)
    if reason := chosen.get("reason"):
        conditions.append({"error_code": None if reason == "none" else reason})
    if issue := chosen.get("issue"):
        conditions.append(_known(issue_filters(utcnow()), issue))
    search = chosen.get("search")
    found = listing.search_payments(search, personal=PERSONAL in g.scopes) if search else None
    fields = listing.PAYMENT_FIELDS + listing.PAYMENT_PERSONAL
    return _criteria(chosen, conditions, found, fields, None)


def notification_criteria() -> Criteria:
    """Return the filters of the list of notifications."""
    chosen = _form_filters()
    conditions = _common(chosen)
    if template := chosen.get("template"):
        conditions.append({"template": template})
    if channel := chosen.get("channel"):
        conditions.append({"notification_type": channel})
    reason = chosen.get("reason")
    if reason and "status" not in chosen:
        conditions.append(
            {"status": {"$in": ["failed", "uncertain", "retrying", "skipped", "bounced", "undelivered"]}}
        )
    search = chosen.get("search")
    found = listing.search_notifications(search, personal=PERSONAL in g.scopes) if search else None
    fields = listing.DELIVERY_FIELDS + listing.DELIVERY_PERSONAL
    of_reason = (lambda row: reason_of(row.get("error_message")) == reason) if reason else None
    return _criteria(chosen, conditions, found, fields, of_reason)


def position() -> tuple[Position | None, bool]:
    """Return the start of the page, and whether it continues to newer records.

    Raises:
        BadRequest: the argument is not a time and an id.
    """
    for name, newer in (("before", False), ("after", True)):
        if text := request.args.get(name):
            time_, _, last = text.partition(",")
            at = from_iso(time_)
            if at is None:
                raise BadRequest(
                    f"The parameter {name} must start with a time, such as 2026-12-01T10:30:00Z."
                )
            return Position(at, ObjectId(last) if ObjectId.is_valid(last) else last), newer
    return None, False


def written(place: Position | None) -> str | None:
    """Format a position as a query argument."""
    return f"{iso(place.at)},{place.id}" if place else None


def _form_filters() -> dict[str, str]:
    return {name: value for name in NAMES if (value := argument(name))}


def _common(chosen: dict[str, str]) -> list[Condition]:
    conditions: list[Condition] = []
    if status := chosen.get("status"):
        conditions.append({"status": status})
    if period := _period(chosen):
        conditions.append({"created_at": period})
    return conditions


def _criteria(
    chosen: dict[str, str],
    conditions: list[Condition],
    found: list[Condition] | None,
    fields: Iterable[str],
    of_reason: Callable[[Document], bool] | None,
) -> Criteria:
    base = _all(conditions)
    queries = [base] if found is None else [_all([*conditions, query]) for query in found]
    search = chosen.get("search")
    if search is None or PERSONAL in g.scopes:
        return Criteria(chosen, base, queries, of_reason)
    # Hidden fields can't be searched, because a search would reveal them letter by letter. A movie is found
    # by its list of bookings, which are not compared.
    by_booking = next((query["booking_id"]["$in"] for query in found or () if _is_list(query)), ())

    def visible(row: Document) -> bool:
        shown = row.get("booking_id") in by_booking or listing.shows(row, fields, search, masked)
        return shown and (of_reason is None or of_reason(row))

    return Criteria(chosen, base, queries, visible)


def _is_list(query: Condition) -> bool:
    return isinstance(query.get("booking_id"), dict) and "$in" in query["booking_id"]


def _all(conditions: list[Condition]) -> Condition:
    if len(conditions) > 1:
        return {"$and": conditions}
    return conditions[0] if conditions else {}


def _known(choices: dict[str, Any], name: str) -> Any:
    if name not in choices:
        raise BadRequest(f"The filter {name:.40} is unknown. Choose a filter on the page.")
    return choices[name]


def _period(chosen: dict[str, str]) -> Condition:
    """Return the condition for a range of days in the operators' time zone, the last day included."""
    period: Condition = {}
    if "from" in chosen:
        period["$gte"] = _midnight(chosen["from"])
    if "until" in chosen:
        period["$lt"] = _midnight(chosen["until"], timedelta(days=1))
    return period


def _midnight(text: str, later: timedelta = timedelta()) -> datetime:
    try:
        day = date.fromisoformat(text) + later
        return datetime.combine(day, time(), settings().operators_zone)
    except (ValueError, OverflowError):
        raise BadRequest("Dates must have the form YYYY-MM-DD, such as 2026-12-01.") from None
