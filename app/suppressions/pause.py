"""Pause suppression while too many messages bounce.

A broken mail server or a wrong DNS record bounces messages to healthy addresses. While an unusual share of
messages bounces, bounces suppress nobody, and suppressions and soft bounces of the last hour are withdrawn.
Every bounce is included in the rate, whether or not it counts against its recipient.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.channels import ChannelName
from app.delivery_status import ACCEPTED, RETURNED
from app.models import Notification, storage_errors

#: Period in which bounces and recorded messages are compared.
WINDOW = timedelta(hours=1)

#: Bounce rate at which suppression pauses. Healthy lists stay below 2 %; providers block senders at 10 %.
PAUSE_RATE = 0.1

#: Minimum number of bounces for a meaningful rate.
MIN_BOUNCES = 10

#: Counting stops at this number of bounces, to limit the cost.
_MAX_COUNTED = 1_000


@dataclass(frozen=True)
class BounceRate:
    """Bounces of one channel within the last hour.

    Attributes:
        bounced: number of bounces.
        accepted: number of accepted messages, counted only as far as the decision needs.
    """

    bounced: int
    accepted: int

    @property
    def is_paused(self) -> bool:
        """Return whether suppression by bounces is paused."""
        return self.bounced >= MIN_BOUNCES and self.bounced >= PAUSE_RATE * self.accepted


def measure(channel: ChannelName, now: datetime) -> BounceRate:
    """Measure the bounces of a channel in the last hour.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    since = now - WINDOW
    with storage_errors():
        returned = Notification.objects(
            returned_at__gte=since, notification_type=channel, status__in=RETURNED
        ).limit(_MAX_COUNTED)
        bounced = returned.count(True)
        if bounced < MIN_BOUNCES:
            return BounceRate(bounced, 0)
        accepted = Notification.objects(
            status__in=ACCEPTED, created_at__gte=since, notification_type=channel
        ).limit(int(bounced / PAUSE_RATE) + 1)
        return BounceRate(bounced, accepted.count(True))
