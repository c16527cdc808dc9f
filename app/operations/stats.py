"""Statistics of a period, for `movieapp stats` and the dashboard.

They come from MongoDB and the broker, so they include every process's work. For live values, use Prometheus
(docs/metrics.md).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.clock import from_iso, seconds, utcnow
from app.delivery_status import ACCEPTED, GIVEN_UP, RETURNED, DeliveryStatus
from app.errors import ServiceUnavailable
from app.messaging.depths import QueueDepth, queue_depths
from app.models import Notification, Transaction, storage_errors
from app.operations import periods
from app.operations.attention import decimal
from app.payments import states
from app.payments.outbox import backlog

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from app.settings import Settings

#: Maximum number of recent durations used for percentiles.
SAMPLE = 10_000

#: Finished deliveries that did not arrive, as far as known.
_LOST = frozenset((*GIVEN_UP, *RETURNED))

#: Deliveries that arrived, as far as known.
_ARRIVED = (DeliveryStatus.SENT, DeliveryStatus.DELIVERED)


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of durations, in seconds.

    Attributes:
        count: number of durations, at most the newest `SAMPLE`.
    """

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, durations: Iterable[float]) -> Percentiles | None:
        """Return the percentiles by nearest rank; None without durations."""
        ordered = sorted(durations)
        if not ordered:
            return None
        ranks = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.95, 0.99))
        return cls(len(ordered), *ranks)


@dataclass
class Step:
    """Payments created in one step of the period.

    Attributes:
        paid: number of payments that succeeded.
        revenue: currency → their sum in major units.
    """

    start: datetime
    paid: int = 0
    failed: int = 0
    revenue: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass
class PaymentStats:
    """Current state of the payments created in the period.

    Attributes:
        by_status: status → count.
        by_method: payment method → count.
        failures: error code → count.
        revenue: currency → major units of successful payments; refunds are not deducted.
        refunded: currency → major units.
        disputed: currency → major units that banks hold or took back; not deducted from revenue.
        processing: from request to completion, for payments without action by the customer.
        steps: the period from its start to its end, without gaps. They start by the zone's clock, and are
            `step` long except on days with a clock change.
    """

    step: timedelta
    by_status: Counter[str] = field(default_factory=Counter)
    by_method: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    revenue: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    refunded: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    disputed: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    processing: Percentiles | None = None
    steps: list[Step] = field(default_factory=list)

    @property
    def paid(self) -> int:
        """Return the number of payments that succeeded, refunded or not."""
        return sum(self.by_status[status] for status in states.PAID)

    @property
    def success_rate(self) -> float | None:
        """Return the share of successes among finished payments."""
        return _part(self.paid, self.paid + self.by_status[states.PaymentStatus.FAILED])


@dataclass
class ChannelStats:
    """Deliveries over one channel whose events arrived in the period.

    Attributes:
        by_status: status → count.
        by_template: template → status → count.
        retries: attempts after the first.
        latency: from the event to the acceptance of its email or SMS by the server.
    """

    by_status: Counter[str] = field(default_factory=Counter)
    by_template: dict[str, Counter[str]] = field(default_factory=dict)
    retries: int = 0
    latency: Percentiles | None = None

    @property
    def success_rate(self) -> float | None:
        """Return the share of accepted and not returned messages among finished, unskipped deliveries."""
        sent = sum(self.by_status[status] for status in _ARRIVED)
        return _part(sent, sent + sum(self.by_status[status] for status in _LOST))

    @property
    def accepted(self) -> int:
        """Return how many messages a server or provider accepted, returned later or not."""
        return sum(self.by_status[status] for status in ACCEPTED)

    @property
    def returned(self) -> int:
        """Return how many accepted messages are known not to have arrived."""
        return sum(self.by_status[status] for status in RETURNED)

    @property
    def bounce_rate(self) -> float | None:
        """Return the share of returned messages among accepted ones."""
        return _part(self.returned, self.accepted)


@dataclass(frozen=True)
class Stats:
    """All statistics of a period.

    Attributes:
        channels: the channels in use: email, sms.
        queues: None while the broker is unavailable.
        outbox_waiting: transactions with unpublished events.
        outbox_since: when the oldest of these events was stored.
    """

    since: datetime
    until: datetime
    payments: PaymentStats
    channels: Mapping[str, ChannelStats]
    queues: list[QueueDepth] | None
    outbox_waiting: int
    outbox_since: datetime | None


def compute_stats(settings: Settings, since: datetime, zone: ZoneInfo | None = None) -> Stats:
    """Return the statistics from `since` until now.

    Args:
        settings: have the broker's URL.
        since: start of the period.
        zone: time zone of the days; None for DASHBOARD_TIMEZONE.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    until = utcnow()
    waiting, oldest = backlog()
    with storage_errors():
        payments, channels = _payments(since, until, zone or settings.operators_zone), _channels(since)
    try:
        queues = queue_depths(settings)
    except ServiceUnavailable:
        queues = None
    return Stats(since, until, payments, channels, queues, waiting, oldest)


def _payments(since: datetime, until: datetime, zone: ZoneInfo) -> PaymentStats:
    step = periods.step_of(until - since)
    starts = periods.starts(since, until, step, zone)
    found = PaymentStats(step, steps=[Step(start) for start in starts])
    for group in Transaction.objects(created_at__gte=since).aggregate(
        _by_bin(periods.truncation(step, starts, zone))
    ):
        # MongoDB skips missing fields, so an incomplete record does not break the statistics.
        of, count, amount = _known(group["_id"]), group["count"], decimal(group["amount"])
        found.by_status[of["status"]] += count
        found.by_method[of["method"]] += count
        # Records created after this process read the clock belong to the last interval.
        during = found.steps[max(0, bisect_right(starts, of["bin"]) - 1)]
        if of["status"] == states.PaymentStatus.FAILED:
            found.failures[group["_id"].get("error") or "none"] += count
            during.failed += count
        elif of["status"] in states.PAID:
            found.revenue[of["currency"]] += amount
            if refunded := decimal(group["refunded"]):
                found.refunded[of["currency"]] += refunded
            during.paid += count
            during.revenue[of["currency"]] += amount
    held = {"$elemMatch": {"status": {"$in": sorted(states.DISPUTE_HOLDS_MONEY)}}}
    disputed = {"created_at": {"$gte": since}, "disputes": held}
    for payment in Transaction.select(disputed, ["disputes", "amount", "currency"]):
        for dispute in payment["disputes"]:
            if dispute.get("status") in states.DISPUTE_HOLDS_MONEY:
                part = decimal(dispute.get("amount") or payment.get("amount"))
                found.disputed[payment.get("currency") or "unknown"] += part
    # If the customer had to confirm, the duration would include the customer's time.
    unattended = {"history.status": {"$ne": states.PaymentStatus.REQUIRES_ACTION}}
    completed = Transaction.objects(
        status=states.PaymentStatus.COMPLETED, created_at__gte=since, __raw__=unattended
    )
    newest = completed.order_by("-created_at").only("created_at", "processed_at").limit(SAMPLE).as_pymongo()
    found.processing = Percentiles.of(
        seconds(each["created_at"], each["processed_at"]) for each in newest if each.get("processed_at")
    )
    return found


def _by_bin(truncation: dict[str, object]) -> list[dict[str, Any]]:
    group = {
        "bin": {"$dateTrunc": {"date": "$created_at", **truncation}},
        "status": "$status",
        "method": "$payment_method",
        "error": "$error_code",
        "currency": "$currency",
    }
    sums = {"count": {"$sum": 1}, "amount": {"$sum": "$amount"}, "refunded": {"$sum": "$amount_refunded"}}
    return [{"$group": {"_id": group, **sums}}]


def _channels(since: datetime) -> dict[str, ChannelStats]:
    group = {"channel": "$notification_type", "template": "$template", "status": "$status"}
    sums = {"count": {"$sum": 1}, "retries": {"$sum": "$retry_count"}}
    channels: dict[str, ChannelStats] = {}
    for found in Notification.objects(created_at__gte=since).aggregate([{"$group": {"_id": group, **sums}}]):
        of = _known(found["_id"])
        channel = channels.setdefault(of["channel"], ChannelStats())
        channel.by_status[of["status"]] += found["count"]
        template = channel.by_template.setdefault(found["_id"].get("template") or "none", Counter())
        template[of["status"]] += found["count"]
        channel.retries += found["retries"]
    sent = Notification.objects(status__in=ACCEPTED, created_at__gte=since).order_by("-created_at")
    fields = {"notification_type": 1, "created_at": 1, "sent_at": 1, "happened_at": "$event_data.timestamp"}
    latencies: dict[str, list[float]] = {name: [] for name in channels}
    for each in sent.limit(SAMPLE).aggregate([{"$project": fields}]):
        if "notification_type" not in each or not each.get("sent_at"):
            continue
        happened = from_iso(each.get("happened_at")) or each["created_at"]
        latencies.setdefault(each["notification_type"], []).append(seconds(happened, each["sent_at"]))
    for name, channel in channels.items():
        channel.latency = Percentiles.of(latencies[name])
    return channels


def _known(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the group's key, with "unknown" for missing fields."""
    return defaultdict(lambda: "unknown", {name: value for name, value in group.items() if value is not None})


def _part(part: int, total: int) -> float | None:
    return part / total if total else None
