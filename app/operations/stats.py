"""The figures of a span of time: what `movieapp stats` and the dashboard show.

From MongoDB, over the indexes by time, and from the broker: they are whole, whichever process did the work
and however often it was started anew. What happens this minute Prometheus knows better (docs/metrics.md).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from app.clock import from_iso, seconds, utcnow
from app.delivery_status import GIVEN_UP, DeliveryStatus
from app.errors import ServiceUnavailable
from app.messaging.depths import QueueDepth, queue_depths
from app.models import Notification, Transaction, storage_errors
from app.payments import states
from app.payments.outbox import backlog

if TYPE_CHECKING:
    from app.settings import Settings

#: Durations that percentiles are taken from: the newest.
SAMPLE = 10_000

#: Spans up to the first are cut into steps of the second.
_STEPS = (
    (timedelta(hours=3), timedelta(minutes=5)),
    (timedelta(days=3), timedelta(hours=1)),
    (timedelta(days=21), timedelta(hours=6)),
)
_LONGEST_STEP = timedelta(days=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: Deliveries that are over, and did not arrive as far as anybody knows.
_LOST = frozenset(GIVEN_UP)


@dataclass(frozen=True)
class Percentiles:
    """Of durations, in seconds.

    Attributes:
        count: how many there were; the newest `SAMPLE` at most.
    """

    count: int
    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, durations: Iterable[float]) -> Percentiles | None:
        """The percentiles by nearest rank; None of nothing."""
        ordered = sorted(durations)
        if not ordered:
            return None
        ranks = (ordered[min(len(ordered) - 1, int(len(ordered) * part))] for part in (0.5, 0.95, 0.99))
        return cls(len(ordered), *ranks)


@dataclass
class Step:
    """What was begun in one step of the span.

    Attributes:
        paid: payments that succeeded.
        revenue: currency → major units of them.
    """

    start: datetime
    paid: int = 0
    failed: int = 0
    revenue: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))


@dataclass
class PaymentFigures:
    """Payments that were begun in the span, as they stand now.

    Attributes:
        by_status: state → how many.
        by_method: payment method → how many.
        failures: error code → how many.
        revenue: currency → major units of those that succeeded; what was given back is not taken off.
        refunded: currency → major units.
        disputed: currency → major units that banks hold or have taken back; not taken off revenue.
        processing: from asked for to completed.
        steps: the span from its start to its end, without gaps, each `step` long.
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
        """How many succeeded, given back later or not."""
        return sum(self.by_status[status] for status in states.PAID)

    @property
    def success_rate(self) -> float | None:
        """Of those whose end is known, the part that succeeded."""
        return _part(self.paid, self.paid + self.by_status[states.PaymentStatus.FAILED])


@dataclass
class ChannelFigures:
    """Deliveries over one channel whose events came in the span.

    Attributes:
        by_status: status → how many.
        by_template: template → status → how many.
        retries: tries after the first.
        latency: from the event to the acceptance of its mail or text.
    """

    by_status: Counter[str] = field(default_factory=Counter)
    by_template: dict[str, Counter[str]] = field(default_factory=dict)
    retries: int = 0
    latency: Percentiles | None = None

    @property
    def success_rate(self) -> float | None:
        """Of those that are over and were not skipped, the part that was sent."""
        sent = self.by_status[DeliveryStatus.SENT]
        return _part(sent, sent + sum(self.by_status[status] for status in _LOST))


@dataclass(frozen=True)
class Figures:
    """All of it.

    Attributes:
        channels: email, sms; those that were used.
        queues: None while the broker does not answer.
        outbox_waiting: transactions with something to announce.
        outbox_since: since when the first of them waits.
    """

    since: datetime
    until: datetime
    payments: PaymentFigures
    channels: Mapping[str, ChannelFigures]
    queues: list[QueueDepth] | None
    outbox_waiting: int
    outbox_since: datetime | None


def figures(settings: Settings, since: datetime) -> Figures:
    """The figures from `since` until now.

    Raises:
        ServiceUnavailable: MongoDB did not answer.
    """
    until = utcnow()
    waiting, oldest = backlog()
    with storage_errors():
        payments, channels = _payments(since, until), _channels(since)
    try:
        queues = queue_depths(settings)
    except ServiceUnavailable:
        queues = None
    return Figures(since, until, payments, channels, queues, waiting, oldest)


def _payments(since: datetime, until: datetime) -> PaymentFigures:
    span = until - since
    step = next((step for longest, step in _STEPS if span <= longest), _LONGEST_STEP)
    found = PaymentFigures(step, steps=[Step(start) for start in _starts(since, until, step)])
    steps = {each.start: each for each in found.steps}
    for group in Transaction.objects(created_at__gte=since).aggregate(_by_step(step)):
        # MongoDB leaves out what a record lacks: one bad record never breaks the statistics.
        of, count, amount = _known(group["_id"]), group["count"], _decimal(group["amount"])
        found.by_status[of["status"]] += count
        found.by_method[of["method"]] += count
        # Whatever was created between this process's clock and the query belongs to the last step.
        during = steps.get(of["step"], found.steps[-1])
        if of["status"] == states.PaymentStatus.FAILED:
            found.failures[group["_id"].get("error") or "none"] += count
            during.failed += count
        elif of["status"] in states.PAID:
            found.revenue[of["currency"]] += amount
            if refunded := _decimal(group["refunded"]):
                found.refunded[of["currency"]] += refunded
            during.paid += count
            during.revenue[of["currency"]] += amount
    held = {"$elemMatch": {"status": {"$in": sorted(states.DISPUTE_HOLDS_MONEY)}}}
    disputed = Transaction.objects(created_at__gte=since, __raw__={"disputes": held})
    for payment in disputed.only("amount", "currency"):
        found.disputed[payment.currency] += payment.amount
    completed = Transaction.objects(status=states.PaymentStatus.COMPLETED, created_at__gte=since)
    newest = completed.order_by("-created_at").only("created_at", "processed_at").limit(SAMPLE).as_pymongo()
    found.processing = Percentiles.of(
        seconds(each["created_at"], each["processed_at"]) for each in newest if each.get("processed_at")
    )
    return found


def _by_step(step: timedelta) -> list[dict[str, Any]]:
    minutes = int(step.total_seconds() / 60)
    group = {
        "step": {"$dateTrunc": {"date": "$created_at", "unit": "minute", "binSize": minutes}},
        "status": "$status",
        "method": "$payment_method",
        "error": "$error_code",
        "currency": "$currency",
    }
    sums = {"count": {"$sum": 1}, "amount": {"$sum": "$amount"}, "refunded": {"$sum": "$amount_refunded"}}
    return [{"$group": {"_id": group, **sums}}]


def _starts(since: datetime, until: datetime, step: timedelta) -> Iterator[datetime]:
    start = since - (since - _EPOCH) % step
    while start <= until:
        yield start
        start += step


def _channels(since: datetime) -> dict[str, ChannelFigures]:
    group = {"channel": "$notification_type", "template": "$template", "status": "$status"}
    sums = {"count": {"$sum": 1}, "retries": {"$sum": "$retry_count"}}
    channels: dict[str, ChannelFigures] = {}
    for found in Notification.objects(created_at__gte=since).aggregate([{"$group": {"_id": group, **sums}}]):
        of = _known(found["_id"])
        channel = channels.setdefault(of["channel"], ChannelFigures())
        channel.by_status[of["status"]] += found["count"]
        template = channel.by_template.setdefault(found["_id"].get("template") or "none", Counter())
        template[of["status"]] += found["count"]
        channel.retries += found["retries"]
    sent = Notification.objects(status=DeliveryStatus.SENT, created_at__gte=since).order_by("-created_at")
    fields = {"notification_type": 1, "created_at": 1, "sent_at": 1, "told_at": "$event_data.timestamp"}
    latencies: dict[str, list[float]] = {name: [] for name in channels}
    for each in sent.limit(SAMPLE).aggregate([{"$project": fields}]):
        if "notification_type" not in each or not each.get("sent_at"):
            continue
        happened = from_iso(each.get("told_at")) or each["created_at"]
        latencies.setdefault(each["notification_type"], []).append(seconds(happened, each["sent_at"]))
    for name, channel in channels.items():
        channel.latency = Percentiles.of(latencies[name])
    return channels


def _known(group: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a group has in common; "unknown" for what its records lack."""
    return defaultdict(lambda: "unknown", {name: value for name, value in group.items() if value is not None})


def _part(some: int, whole: int) -> float | None:
    return some / whole if whole else None


def _decimal(value: Any) -> Decimal:
    """A sum in MongoDB, which is an integer where there was nothing to add."""
    return value.to_decimal() if hasattr(value, "to_decimal") else Decimal(value)
