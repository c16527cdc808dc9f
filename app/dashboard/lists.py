"""The lists of payments and notifications: filtered, added up, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from flask import Response

from app.channels import ChannelName
from app.clock import iso
from app.dashboard.access import READ
from app.dashboard.blueprint import blueprint, page, requires
from app.dashboard.criteria import Criteria, notification_criteria, payment_criteria, position, written
from app.dashboard.present import address, amount, masked
from app.delivery_status import DeliveryStatus
from app.errors import InvalidRequest
from app.events.catalog import CATALOG
from app.models import Notification, Transaction
from app.operations import listing
from app.operations.listing import Document
from app.payments import states

#: Rows of a page.
_ROWS = 50

#: Maximum rows of a download. The payment API's process builds it in memory: this many payments need up to
#: 56 MB (measured). The command line exports any number.
_MAX_CSV_ROWS = 50_000

STATUSES = tuple(status.value for status in states.PaymentStatus)
DELIVERY_STATUSES = tuple(status.value for status in DeliveryStatus)

#: Name of an issue → its label in the list.
ISSUES = {
    "unknown": "unknown outcome",
    "charged": "charged although failed",
    "disputed": "disputed",
    "unpublished": "unpublished events",
}

#: A spreadsheet reads a cell that begins with one of these as a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

#: Column of the CSV → its cell.
_PAYMENT_COLUMNS: dict[str, Callable[[Document], Any]] = {
    "created_at": lambda row: row.get("created_at"),
    "transaction_id": lambda row: row["_id"],
    "status": lambda row: row.get("status"),
    "amount": lambda row: amount(row.get("amount")).replace(",", ""),
    "currency": lambda row: row.get("currency"),
    "amount_refunded": lambda row: amount(row.get("amount_refunded")).replace(",", ""),
    "booking_id": lambda row: masked(row.get("booking_id")),
    "user_id": lambda row: masked(row.get("user_id")),
    "payment_method": lambda row: row.get("payment_method"),
    "error_code": lambda row: row.get("error_code"),
    "gateway_id": lambda row: row.get("gateway_id"),
}
_DELIVERY_COLUMNS: dict[str, Callable[[Document], Any]] = {
    "created_at": lambda row: row.get("created_at"),
    "id": lambda row: row["_id"],
    "status": lambda row: row.get("status"),
    "channel": lambda row: row.get("notification_type"),
    "template": lambda row: row.get("template"),
    "event_type": lambda row: masked(row.get("event_type")),
    "booking_id": lambda row: masked(row.get("booking_id")),
    "recipient": lambda row: address(row.get("recipient")),
    "sent_at": lambda row: row.get("sent_at"),
    "retry_count": lambda row: row.get("retry_count"),
    "error": lambda row: masked(row.get("error_message")),
}


@blueprint.route("/payments")
@requires(READ)
def payments() -> str:
    """List payments, newest first, or the search result."""
    return _list("payments", Transaction, payment_criteria(), statuses=STATUSES, issues=ISSUES)


@blueprint.route("/payments/summary")
@requires(READ)
def payments_summary() -> str:
    """Show totals and failure reasons of the filtered payments. The page loads them separately."""
    criteria = payment_criteria()
    totals = listing.totals(criteria.queries, criteria.accept)
    reasons = listing.payment_reasons(criteria.base)
    return page("summary", totals=totals, reasons=reasons, chosen=criteria.chosen, endpoint="payments")


@blueprint.route("/payments.csv")
@requires(READ)
def payments_csv() -> Response:
    """Export the filtered payments as CSV."""
    return _csv("payments", Transaction, payment_criteria(), _PAYMENT_COLUMNS)


@blueprint.route("/notifications")
@requires(READ)
def all_notifications() -> str:
    """List notifications, newest first, or the search result."""
    templates = sorted({kind.template for kind in CATALOG.values() if kind.template})
    return _list(
        "notifications",
        Notification,
        notification_criteria(),
        statuses=DELIVERY_STATUSES,
        channels=[channel.value for channel in ChannelName],
        templates=templates,
    )


@blueprint.route("/notifications/summary")
@requires(READ)
def notifications_summary() -> str:
    """Show the number of filtered notifications, and why some were not accepted."""
    criteria = notification_criteria()
    totals = listing.count_notifications(criteria.queries, criteria.accept)
    reasons = listing.delivery_reasons(criteria.base)
    return page(
        "summary", totals=totals, reasons=reasons, chosen=criteria.chosen, endpoint="all_notifications"
    )


@blueprint.route("/notifications.csv")
@requires(READ)
def notifications_csv() -> Response:
    """Export the filtered notifications as CSV."""
    return _csv("notifications", Notification, notification_criteria(), _DELIVERY_COLUMNS)


def _list(template: str, record: Any, criteria: Criteria, **values: Any) -> str:
    place, newer = position()
    found = listing.page(
        record,
        criteria.queries,
        _ROWS,
        position=place,
        newer=newer,
        accept=criteria.accept,
    )
    return page(
        template,
        rows=found.rows,
        newer=written(found.newer),
        older=written(found.older),
        cut=found.cut,
        chosen=criteria.chosen,
        **values,
    )


def _csv(
    name: str, record: Any, criteria: Criteria, columns: dict[str, Callable[[Document], Any]]
) -> Response:
    found = listing.everything(record, criteria.queries, criteria.accept)
    # In memory, because a truncated download would look complete.
    lines = list(_lines(islice(found, _MAX_CSV_ROWS + 1), columns))
    if len(lines) > _MAX_CSV_ROWS + 1:  # with the header
        raise InvalidRequest(
            f"More than {_MAX_CSV_ROWS:,} {name} match, the maximum of a download. Filter the list, or "
            f"export all {name} with: movieapp {name} list --csv"
        )
    body = "".join(lines)
    response = Response(body, mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
    return response


def _lines(rows: Iterator[Document], columns: dict[str, Callable[[Document], Any]]) -> Iterator[str]:
    yield _line(list(columns))
    for row in rows:
        yield _line([_cell(cell(row)) for cell in columns.values()])


def _line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: Any) -> str:
    """Format a cell so that no spreadsheet treats it as a formula."""
    if value is None:
        return ""
    text = iso(value) if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text
