"""Data of the overview's charts, for the page's script and the tables beside them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app.delivery_status import DeliveryStatus

if TYPE_CHECKING:
    from app.operations.stats import ChannelStats, PaymentStats


@dataclass(frozen=True)
class Series:
    """One series of a chart. `color` names a variable of the style sheet."""

    label: str
    color: str
    values: list[float]


@dataclass(frozen=True)
class Chart:
    """One chart: bars of its series, stacked.

    Attributes:
        key: the chart's id in the page.
        times: start of each step, in seconds since 1970.
    """

    key: str
    title: str
    times: list[int]
    series: list[Series]

    @property
    def data(self) -> dict[str, Any]:
        """Return the chart as JSON data."""
        return asdict(self)


def payment_charts(stats: PaymentStats) -> list[Chart]:
    """Return charts of payments by outcome, and of revenue in each currency, the largest first."""
    times = [int(step.start.timestamp()) for step in stats.steps]
    outcomes = [
        Series("paid", "good", [step.paid for step in stats.steps]),
        Series("failed", "bad", [step.failed for step in stats.steps]),
    ]
    charts = [Chart("payments", "Payments", times, outcomes)]
    for currency in sorted(stats.revenue, key=lambda one: (-stats.revenue[one], one)):
        values = [float(step.revenue[currency]) for step in stats.steps]
        charts.append(Chart(currency, "Revenue", times, [Series(currency, "accent", values)]))
    return charts


#: Segments of a channel's bar: label, color, statuses.
_PARTS = (
    ("sent", "good", (DeliveryStatus.SENT, "delivered")),
    ("waiting", "open", (DeliveryStatus.QUEUED, DeliveryStatus.SENDING, DeliveryStatus.RETRYING)),
    ("skipped", "calm", (DeliveryStatus.SKIPPED,)),
    ("failed", "bad", (DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN, "bounced", "undelivered")),
)


@dataclass(frozen=True)
class Part:
    """A part of a channel's bar.

    Attributes:
        offset, width: in percent of the bar.
    """

    label: str
    color: str
    count: int
    offset: float
    width: float


def delivery_bars(channels: Mapping[str, ChannelStats]) -> dict[str, list[Part]]:
    """Return the parts of each channel's bar: its messages by status."""
    bars: dict[str, list[Part]] = {}
    for name, channel in sorted(channels.items()):
        total, offset = channel.by_status.total(), 0.0
        bars[name] = []
        for label, color, statuses in _PARTS:
            count = sum(channel.by_status[status] for status in statuses)
            width = 100 * count / total if total else 0.0
            bars[name].append(Part(label, color, count, round(offset, 2), round(width, 2)))
            offset += width
    return bars
