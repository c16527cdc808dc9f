"""The read-only pages: overview, payments, notifications."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from bson import ObjectId
from flask import request
from werkzeug.exceptions import BadRequest

from app.clock import from_iso, iso, utcnow
from app.dashboard import present
from app.dashboard.access import READ
from app.dashboard.blueprint import argument, blueprint, page, requires, settings
from app.delivery_status import DeliveryStatus
from app.errors import TransactionNotFound
from app.models import Notification, Transaction, storage_errors
from app.operations import notifications
from app.operations.health import pick, run_probes
from app.operations.stats import figures
from app.payments import states
from app.payments.trace import trace
from app.services import services

SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

STATUSES = tuple(sorted(states.MOVES))
DELIVERY_STATUSES = tuple(DeliveryStatus)

#: What the overview says of the dependencies.
_HEALTH = pick("mongodb", "redis", "broker", "gateway", "outbox", "overdue", "webhooks")

#: Rows of a page.
_ROWS = 50

#: What a payment, and a delivery, can be found by: each has an index.
_PAYMENT_IDS = ("id", "refunds__id", "booking_id", "user_id", "gateway_id")
_DELIVERY_IDS = ("event_id", "booking_id", "recipient", "message_id")


@blueprint.route("")
@requires(READ)
def overview() -> str:
    """Overview: statistics, charts, and queues."""
    chosen = request.args.get("span", "24h")
    found = figures(settings(), utcnow() - SPANS.get(chosen, SPANS["24h"]))
    charts = present.courses(found.payments)
    health = run_probes(_HEALTH, settings())
    return page("overview", figures=found, charts=charts, spans=SPANS, chosen=chosen, health=health)


@blueprint.route("/payments")
@requires(READ)
def payments() -> str:
    """Payments, newest first, or the search result."""
    return _list("payments", Transaction, _PAYMENT_IDS, STATUSES)


@blueprint.route("/payments/<transaction_id>")
@requires(READ)
def payment(transaction_id: str) -> str:
    """One payment: states, events, notifications, and attempts."""
    found = services().payments.books.get(transaction_id)
    with storage_errors():
        of_booking = Notification.objects(booking_id=found.booking_id)
        deliveries = list(of_booking.order_by("created_at").limit(_ROWS))
    return page("payment", payment=found, story=trace(found.id), deliveries=deliveries)


@blueprint.route("/notifications")
@requires(READ)
def all_notifications() -> str:
    """Notifications, newest first, or the search result."""
    return _list("notifications", Notification, _DELIVERY_IDS, DELIVERY_STATUSES)


@blueprint.route("/notifications/<notification_id>")
@requires(READ)
def notification(notification_id: str) -> str:
    """One notification: its attempts and its event."""
    with storage_errors():
        found = notifications.by_ids([notification_id]).get(notification_id)
    if found is None:
        raise TransactionNotFound("There is no such notification.")
    return page("notification", notification=found)


def _list(template: str, record: Any, ids: tuple[str, ...], statuses: tuple[str, ...]) -> str:
    """Return the newest records, or those that match the search."""
    search, status = argument("search"), argument("status")
    queries = [{name: search} for name in ids] if search else [{}]
    with storage_errors():
        # One more than is shown: whether there are older ones.
        found = next((rows for query in queries if (rows := _newest(record.objects(**query), status))), [])
    rows = found[:_ROWS]
    before = f"{iso(rows[-1].created_at)},{rows[-1].pk}" if len(found) > _ROWS else None
    return page(template, rows=rows, before=before, search=search, status=status, statuses=statuses)


def _newest(query: Any, status: str | None) -> list[Any]:
    if status:
        query = query.filter(status=status)
    if before := _before():
        query = query.filter(__raw__=before)
    return list(query.order_by("-created_at", "-id").limit(_ROWS + 1))


def _before() -> dict[str, Any] | None:
    """Return the filter for records older than the last one of the page before, which `before` names.

    Records of the same millisecond are told apart by their ids, so that no page leaves any out.

    Raises:
        BadRequest: the query's `before` is not a time, or a time and an id.
    """
    text = request.args.get("before")
    if not text:
        return None
    time, _, last = text.partition(",")
    moment = from_iso(time)
    if moment is None:
        raise BadRequest("before must be a time such as 2026-12-01T10:30:00Z.")
    older = {"created_at": {"$lt": moment}}
    if not last:
        return older
    last_id = ObjectId(last) if ObjectId.is_valid(last) else last
    return {"$or": [older, {"created_at": moment, "_id": {"$lt": last_id}}]}
