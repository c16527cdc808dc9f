"""The overview: what needs attention, then statistics."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from flask import request, url_for

from app.clock import utcnow
from app.dashboard.access import READ
from app.dashboard.blueprint import blueprint, page, requires, settings
from app.dashboard.charts import delivery_bars, payment_charts
from app.operations.attention import Item, needs_attention
from app.operations.health import Level, pick, run_probes
from app.operations.stats import compute_stats

if TYPE_CHECKING:
    from app.operations.stats import ChannelStats

SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

#: Bounce rate that is too high, and the minimum number of bounces, as in deploy/prometheus/alerts.yml.
HIGH_BOUNCE_RATE, MANY_BOUNCES = 0.05, 20

#: Dependencies that the overview checks, without those that `needs_attention` covers.
_HEALTH = pick("mongodb", "redis", "broker", "gateway", "overdue", "webhooks")

#: Kind of an item → the list it links to. Other kinds have no link.
_LISTS = {
    "unknown": "payments",
    "charged": "payments",
    "disputed": "payments",
    "unpublished": "payments",
    "dead": "letters",
    "undelivered": "all_notifications",
    "relay": "all_notifications",
    "suppressed": "all_notifications",
}


@blueprint.route("")
@requires(READ)
def overview() -> str:
    """Show what needs attention, statistics, charts, and queues."""
    chosen = request.args.get("span", "24h")
    found = compute_stats(settings(), utcnow() - SPANS.get(chosen, SPANS["24h"]))
    outcomes, *revenues = payment_charts(found.payments)
    currency = request.args.get("currency")
    revenue = next((chart for chart in revenues if chart.key == currency), revenues[0] if revenues else None)
    items = [(item, _link(item)) for item in needs_attention(settings())]
    health = [each for each in run_probes(_HEALTH, settings()) if each.level is not Level.OK]
    return page(
        "overview",
        stats=found,
        charts=[outcomes, *([revenue] if revenue else [])],
        currencies=[chart.key for chart in revenues],
        currency=revenue.key if revenue else None,
        bars=delivery_bars(found.channels),
        bounces_too_often=_bounces_too_often,
        spans=SPANS,
        chosen=chosen,
        items=items,
        health=health,
    )


def _bounces_too_often(channel: ChannelStats) -> bool:
    """Return whether a channel bounces as much as the alert `MailsBounce` reports."""
    return channel.returned > MANY_BOUNCES and (channel.bounce_rate or 0) > HIGH_BOUNCE_RATE


def _link(item: Item) -> str | None:
    """Return the URL of the filtered list of an item."""
    target = _LISTS.get(item.kind)
    arguments: dict[str, Any] = dict(item.filter)
    return url_for(f"dashboard.{target}", **arguments) if target else None
