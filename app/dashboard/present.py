"""Format values for pages: times, percentages, and masked addresses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from bson.decimal128 import Decimal128
from flask import g, url_for
from jinja2 import Undefined
from markupsafe import Markup

from app.clock import iso
from app.dashboard.access import PERSONAL
from app.dashboard.blueprint import settings
from app.masking import HIDDEN, mask_address, mask_text

#: Fields of an event whose values are addresses: shown in part.
_ADDRESSES = frozenset({"user_email", "user_phone", "recipient"})

#: Fields of an event that every operator sees, with addresses masked. Other fields may contain anything, or
#: grant access to whoever has them (ticket codes, links).
_PUBLIC_FIELDS = frozenset(
    {
        "event_id", "event_type", "timestamp", "user_id", "locale", "timezone", "currency", "schema_version",
        "booking_id", "transaction_id", "original_transaction_id", "refund_transaction_id", "amount",
        "total_amount", "refund_amount", "payment_method", "card_last_four", "card_brand", "processed_at",
        "failure_reason", "error_code", "retry_possible", "reason", "processing_time", "movie_title",
        "showtime", "seats", "seat", "category", "cinema_name", "cinema_address", "screen", "booking_date",
        "duration_minutes", "cancellation_reason", "cancelled_at", "refund_eligible", "dispute_id", "status",
        "evidence_due_by",
    }
)  # fmt: skip

_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def moment(value: Any) -> Markup:
    """Format a time in the operators' zone. The page's script shows it as "5 min ago", and the full time on
    hover."""
    return _time(value, relative=True)


def exact(value: Any) -> Markup:
    """Format a time in the operators' zone to the second. The page's script leaves it unchanged."""
    return _time(value, relative=False)


def _time(value: Any, *, relative: bool) -> Markup:
    if not isinstance(value, datetime):
        return Markup("–")
    local = value.astimezone(settings().operators_zone)
    shown = f"{local:%Y-%m-%d %H:%M:%S}"
    return Markup('<time datetime="{}" title="{} {}"{}>{}</time>').format(
        iso(value), shown, local.tzname(), Markup(" data-relative") if relative else "", shown
    )


def zone_name() -> str:
    """Return the name of the operators' time zone."""
    return settings().dashboard_timezone


def percent(part: float | None) -> str:
    """Format a share as `93.4%`; a dash for None."""
    return "–" if part is None else f"{part:.1%}"


def duration(seconds: float | None) -> str:
    """Format seconds as `0.21 s`, `3 min`, or `2 h`, with a no-break space."""
    if seconds is None:
        return "–"
    if seconds < 60:
        text = f"{seconds:.2f} s"
    else:
        text = f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.0f} h"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def amount(value: Any) -> str:
    """Format an amount with digit groups, such as `1,234.50`; a dash for other values."""
    number = decimal_of(value)
    return "–" if number is None else f"{number:,}"


def decimal_of(value: Any) -> Decimal | None:
    """Return a stored amount of any type as a Decimal; None for other values."""
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if isinstance(value, bool) or not isinstance(value, Decimal | int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def span(value: timedelta) -> str:
    """Format the length of a step: `5 minutes`, `1 hour`, `1 day`."""
    size, unit = next((size, unit) for size, unit in _UNITS if value >= size)
    count = value // size
    return f"{count} {unit}{'s' if count > 1 else ''}"


def address(value: Any) -> str:
    """Return an email address or phone number, masked unless this caller may see it."""
    if not value:
        return "–"
    return str(value) if PERSONAL in g.scopes else mask_address(str(value))


def event(data: Any) -> str:
    """Format an event as JSON. From callers without `ops:pii`, fields not known to be harmless are hidden."""
    if not isinstance(data, Mapping):
        return masked(data)
    shown = data if PERSONAL in g.scopes else harmless(data)
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def harmless(value: Any, *, known: bool = True) -> Any:
    """Return an event, or a part of one, with all fields masked that are not known to be harmless."""
    match value:
        case Mapping():
            return {masked(str(name)): _field(str(name), item) for name, item in value.items()}
        case list():
            return [harmless(item, known=known) for item in value]
        case None | bool():
            return value
        case _ if not known:
            return HIDDEN
        case str():
            return masked(value)
        case _:
            return value


def _field(name: str, value: Any) -> Any:
    if name in _ADDRESSES and isinstance(value, str):
        return address(value)
    return harmless(value, known=name in _PUBLIC_FIELDS)


def masked(text: object) -> str:
    """Return text with personal data masked, unless this caller may see it."""
    if text is None or isinstance(text, Undefined):
        return ""
    return str(text) if PERSONAL in g.scopes else mask_text(str(text))


def badge_level(status: object) -> str:
    """Return the badge level of a status: good, bad, open, or calm."""
    return _LEVELS.get(str(status), "calm")


#: Status of a payment, refund, delivery, or dispute → its severity.
_LEVELS = (
    dict.fromkeys(("completed", "sent", "delivered", "won", "finished", "refunded"), "good")
    | dict.fromkeys(("failed", "uncertain", "dead", "bounced", "undelivered", "lost"), "bad")
    | dict.fromkeys(("stopped", "disputed", "unknown"), "bad")
    | dict.fromkeys(("pending", "requires_action", "queued", "sending", "retrying"), "open")
    | dict.fromkeys(("running", "planned", "open"), "open")
    | dict.fromkeys(("needs_response", "warning_needs_response", "under_review"), "open")
)


def address_with(endpoint: str, chosen: Mapping[str, str], **more: str) -> str:
    """Return the URL of a list with its filters and additional ones."""
    arguments: dict[str, Any] = {**chosen, **more}
    return url_for(f"dashboard.{endpoint}", **arguments)


def address_without(endpoint: str, chosen: Mapping[str, str], name: str) -> str:
    """Return the URL of a list without one of its filters."""
    arguments: dict[str, Any] = {one: value for one, value in chosen.items() if one != name}
    return url_for(f"dashboard.{endpoint}", **arguments)


#: Functions of the templates.
GLOBALS = {function.__name__: function for function in (zone_name, address_with, address_without)}

#: Filters of the templates, by name.
FILTERS = {
    function.__name__: function
    for function in (
        moment, exact, percent, duration, amount, span, address, event, masked, badge_level,
    )
}  # fmt: skip
