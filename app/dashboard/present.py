"""Format values for pages: times, percentages, and masked addresses."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from flask import g
from markupsafe import Markup

from app.clock import iso
from app.dashboard.access import PERSONAL

if TYPE_CHECKING:
    from app.operations.stats import PaymentFigures

#: Fields of an event whose values are addresses: shown in part.
_ADDRESSES = frozenset({"user_email", "user_phone", "recipient"})

#: Fields of an event that are shown to everyone who may look, with addresses in them masked. Any other field
#: may hold what a publisher likes, or opens something for whoever has it (tickets' codes, links).
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

#: What is masked in text: something in brackets or quotes, a word with an @, the digits of a phone number
#: (not those of a date, nor those inside an id).
_PRIVATE = re.compile(
    r"(?P<quoted><[^<>]*>|\"[^\"]*\"|'[^']*'|“[^”]*”|‘[^’]*’)"
    r"|[^\s<>()\"',;:]*(?:@|＠|%40)[^\s<>()\"',;]*"
    r"|(?<![\w.-])(?!\d{4}-\d\d-\d\d)\+?\d(?:[ ()./-]{0,2}\d){6,}(?![\w-])",
    re.IGNORECASE,
)
_FIELD_NAME = re.compile(r"[a-z_]{1,40}")

_HIDDEN = "…"

_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def moment(value: datetime | None) -> Markup:
    """Format a time in UTC, to the second."""
    if value is None:
        return Markup("–")
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(iso(value), value)


def percent(part: float | None) -> str:
    """Format a share as `93.4 %`; a dash for None."""
    return "–" if part is None else f"{part:.1%}".replace("%", " %")


def duration(seconds: float | None) -> str:
    """Format seconds as `0.21 s`, `3 min`, or `2 h`."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.0f} h"


def amount(value: Decimal | None) -> str:
    """Format an amount with digit groups, such as `1,234.50`."""
    return "–" if value is None else f"{value:,}"


def span(value: timedelta) -> str:
    """Format the length of a step: `5 minutes`, `1 hour`, `1 day`."""
    size, unit = next((size, unit) for size, unit in _UNITS if value >= size)
    count = value // size
    return f"{count} {unit}{'s' if count > 1 else ''}"


def address(value: str | None) -> str:
    """Return an email address or phone number, masked unless this caller may see it."""
    if not value or PERSONAL in g.scopes:
        return value or "–"
    local, at, domain = value.rpartition("@")
    if at:
        host, dot, ending = domain.rpartition(".")
        return f"{local[:1]}{_HIDDEN}@{host[:1]}{_HIDDEN}{dot}{ending}"
    return f"{_HIDDEN}{value[-2:]}"


def event(data: Mapping[str, Any] | None) -> str:
    """Format an event as JSON. From callers without `ops:pii`, fields not known to be harmless are hidden."""
    if data is None:
        return ""
    shown = data if PERSONAL in g.scopes else _harmless(data)
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def _harmless(value: Any, *, known: bool = True) -> Any:
    match value:
        case Mapping():
            return {masked(str(name)): _field(str(name), item) for name, item in value.items()}
        case list():
            return [_harmless(item, known=known) for item in value]
        case None | bool():
            return value
        case _ if not known:
            return _HIDDEN
        case str():
            return masked(value)
        case _:
            return value


def _field(name: str, value: Any) -> Any:
    if name in _ADDRESSES and isinstance(value, str):
        return address(value)
    return _harmless(value, known=name in _PUBLIC_FIELDS)


def masked(text: object) -> str:
    """Return foreign text with personal data masked, unless this caller may see it.

    Hidden are addresses, numbers as long as a phone's, and whatever is quoted but a field's name.
    """
    if text is None or PERSONAL in g.scopes:
        return str(text or "")
    return _PRIVATE.sub(_mask, str(text))


def _mask(found: re.Match[str]) -> str:
    if quoted := found["quoted"]:
        inside = quoted[1:-1]
        if _FIELD_NAME.fullmatch(inside):
            return quoted
        return f"{quoted[0]}{address(inside) if '@' in inside else _HIDDEN}{quoted[-1]}"
    return address(found[0])


def courses(figures: PaymentFigures) -> list[dict[str, Any]]:
    """Return the charts: titles, times in Unix seconds, and series of numbers."""
    times = [int(step.start.timestamp()) for step in figures.steps]
    charts: list[dict[str, Any]] = [
        {
            "title": "Payments",
            "times": times,
            "series": [
                {"label": "paid", "color": "good", "values": [step.paid for step in figures.steps]},
                {"label": "failed", "color": "bad", "values": [step.failed for step in figures.steps]},
            ],
        }
    ]
    charts += [
        {
            "title": f"Revenue, {currency}",
            "times": times,
            "series": [
                {
                    "label": currency,
                    "color": "accent",
                    "values": [float(step.revenue[currency]) for step in figures.steps],
                }
            ],
        }
        for currency in sorted(figures.revenue)
    ]
    return charts


#: Filters of the templates, by name.
FILTERS = {
    function.__name__: function
    for function in (moment, percent, duration, amount, span, address, event, masked)
}
