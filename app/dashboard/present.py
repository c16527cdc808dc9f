"""How values look on a page: times, shares, and addresses of which only so much is shown."""

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

#: Fields of an event that say who somebody is.
_PERSONAL = {"user_email", "user_phone", "user_name", "recipient"}

_HIDDEN = "…"

_UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


def moment(value: datetime | None) -> Markup:
    """A time in UTC, to the second."""
    if value is None:
        return Markup("–")
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(iso(value), value)


def percent(part: float | None) -> str:
    """`93.4 %`; a dash of nothing."""
    return "–" if part is None else f"{part:.1%}".replace("%", " %")


def duration(seconds: float | None) -> str:
    """`0.21 s`, `3 min`, `2 h`: as exact as anybody wants it."""
    if seconds is None:
        return "–"
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3600:.0f} h"


def amount(value: Decimal | None) -> str:
    """Digits in groups of three, as `1,234.50`."""
    return "–" if value is None else f"{value:,}"


def span(value: timedelta) -> str:
    """The length of a step: `5 minutes`, `1 hour`, `1 day`."""
    size, unit = next((size, unit) for size, unit in _UNITS if value >= size)
    count = value // size
    return f"{count} {unit}{'s' if count > 1 else ''}"


def address(value: str | None) -> str:
    """A mail address or a phone number, as far as this caller may see it."""
    if not value or PERSONAL in g.scopes:
        return value or "–"
    local, at, domain = value.rpartition("@")
    if at:
        host, dot, ending = domain.rpartition(".")
        return f"{local[:1]}{_HIDDEN}@{host[:1]}{_HIDDEN}{dot}{ending}"
    return f"{_HIDDEN}{value[-2:]}"


def event(data: Mapping[str, Any] | None) -> str:
    """An event as JSON, without what this caller may not see."""
    if data is None:
        return ""
    shown = dict(data)
    for name in _PERSONAL & shown.keys():
        shown[name] = shown[name] and address(str(shown[name]))
    return json.dumps(shown, indent=2, ensure_ascii=False, default=str)


def without_addresses(text: str | None) -> str:
    """What a server said, without the addresses in it that this caller may not see."""
    if not text or PERSONAL in g.scopes:
        return text or ""
    return re.sub(r"[^\s<>()\"',;:]+@[^\s<>()\"',;:]+|\+[0-9]{6,15}", lambda found: address(found[0]), text)


def courses(figures: PaymentFigures) -> list[dict[str, Any]]:
    """The charts: their titles, times in Unix seconds, and series of numbers."""
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
    for function in (moment, percent, duration, amount, span, address, event, without_addresses)
}
