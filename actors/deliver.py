"""One delivery, over any channel: claimed, sent, recorded; tried again or given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import dramatiq
import redis

from actors import deliveries
from actors.backoff import MAX_DELAY_MS, delay, spread
from actors.errors import DeliveryError, NotAllowed, Postponed, TemporaryFailure, Uncertain
from actors.outcome import count_outcome, log_outcome
from actors.relevance import obsolete
from app.clock import from_iso, seconds, utcnow
from app.delivery_status import DeliveryStatus
from app.models import OUTAGES
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from actors.receipts import Receipts
    from app.models import Notification

log = get_logger(__name__)

#: A delivery that so many workers took and never reported on is likely what kills them.
_MAX_ABANDONED = 10

#: A delivery that has been held for so many minutes waits for one more.
HOLD_FRACTION = 10

#: Seconds for which a worker keeps trying to make known how a delivery ended, and between two tries.
_RECORD_TIMEOUT_SECONDS, _RECORD_PAUSE_SECONDS = 60.0, 0.5


class Sender(Protocol):
    """The implementation of one channel; `app.channels` names it."""

    #: Longer than one `send` can take.
    lease: timedelta
    #: How long a delivery is held while the server, not the delivery, is in trouble.
    hold_for: timedelta

    @property
    def quick(self) -> bool:
        """Whether a delivery is likely to be accepted at once."""

    def message_id(self, event_id: str) -> str | None:
        """The id that a delivery of this event has with the recipient, if it is known before sending."""

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one delivery.

        Returns:
            Fields to record with it, as its subject.

        Raises:
            DeliveryError: it was not accepted, or nobody knows.
        """

    def close(self) -> None:
        """Close connections."""


class DeliveryFailed(Exception):
    """A delivery failed for good; its message goes to the dead letters."""


class Deliver:
    """The actor of one channel: sends a delivery, and records the outcome.

    Args:
        sender: sends over the channel.
        receipts: remembers what was accepted, in case that it can't be recorded.
        max_retries: tries after the first.
        exceeded: why a delivery is over a limit; None if it is not.

    Attributes:
        sender: as given.
    """

    def __init__(
        self,
        sender: Sender,
        receipts: Receipts,
        max_retries: int,
        exceeded: Callable[[Notification], str | None] = lambda _: None,
    ) -> None:
        self.sender = sender
        self._receipts = receipts
        self._max_retries = max_retries
        self._exceeded = exceeded

    def __call__(self, notification_id: str, *, given_up: bool = False) -> None:
        """Send one delivery, unless it was sent before.

        Args:
            notification_id: its document's.
            given_up: it failed for good where it was tried first: this message is its dead letter, unless
                somebody has reopened it since.

        Raises:
            dramatiq.Retry: it may succeed later.
            DeliveryFailed: it never will, or was tried often enough.
        """
        claimed = deliveries.claim(notification_id, self.sender.lease)
        if claimed is None:
            if given_up and deliveries.is_given_up(notification_id):
                raise DeliveryFailed("failed in its inline attempt")
            return
        if isinstance(claimed, deliveries.Busy):
            wait = int((claimed.until - utcnow()).total_seconds() * 1_000)
            raise dramatiq.Retry("not due, or another worker has it", min(max(100, wait), MAX_DELAY_MS))
        try:
            if claimed.abandoned and self._settled(claimed):
                return
        except redis.RedisError:
            # Redis is down, not the delivery's worker: this counts as no abandoned attempt.
            deliveries.give_back(claimed)
            raise
        self.attempt(claimed)

    def attempt(self, notification: Notification) -> None:
        """Send a delivery whose lease this worker holds.

        Raises:
            dramatiq.Retry: it may succeed later.
            DeliveryFailed: it never will, or was tried often enough.
        """
        if reason := obsolete(notification, utcnow()) or self._exceeded(notification):
            self._skip(notification, reason)
            return
        try:
            fields = self.sender.send(notification)
        except NotAllowed as error:
            self._skip(notification, str(error))
        except Postponed as error:
            self._postpone(notification, error)
        except TemporaryFailure as error:
            self._retry(notification, error)
        except DeliveryError as error:
            self._give_up(notification, error)
        except Exception as error:  # a bug: what it has done nobody knows, so a person has to look first
            log.exception("unexpected error", event_id=notification.event_id)
            self._give_up(notification, DeliveryError(f"unexpected {type(error).__name__}: {error!s:.300}"))
        else:
            self._accepted(notification, utcnow(), fields)

    def _skip(self, notification: Notification, reason: str) -> None:
        deliveries.end(notification, DeliveryStatus.SKIPPED, reason)
        log_outcome(notification, DeliveryStatus.SKIPPED, reason)

    def _settled(self, notification: Notification) -> bool:
        """Whether a delivery that another worker abandoned needs no sending."""
        receipt = self._receipts.find(notification)
        if receipt is not None:
            deliveries.sent(notification, **receipt)
            log_outcome(notification, DeliveryStatus.SENT, "accepted earlier, recorded now")
            return True
        if notification.abandoned >= _MAX_ABANDONED:
            error = DeliveryError(f"{notification.abandoned} workers took it, and none reported an outcome")
            self._give_up(notification, error)
        return False

    def _accepted(self, notification: Notification, sent_at: datetime, fields: Mapping[str, Any]) -> None:
        def record() -> None:
            self._receipts.keep(notification, sent_at, fields)
            deliveries.sent(notification, sent_at, **fields)

        surely(record, OUTAGES)
        log_outcome(notification, DeliveryStatus.SENT)
        happened = from_iso(notification.event_data.get("timestamp")) or notification.created_at
        metrics.EVENT_AGE.labels(notification.notification_type).observe(seconds(happened, sent_at))

    def _postpone(self, notification: Notification, error: Postponed) -> NoReturn:
        """Hold the delivery: the longer it has been held, the less often it is tried."""
        until = self._give_up_at(notification)
        if utcnow() >= until:
            self._give_up(notification, error)
        held = self.sender.hold_for - (until - utcnow())
        wait = spread(max(error.seconds, held.total_seconds() / HOLD_FRACTION))
        self._try_later(notification, error, wait, counted=False)

    def _retry(self, notification: Notification, error: TemporaryFailure) -> NoReturn:
        if notification.retry_count >= self._max_retries or utcnow() >= self._give_up_at(notification):
            self._give_up(notification, error)
        wait = delay(notification.retry_count)
        self._try_later(notification, error, wait, counted=True)

    def _try_later(
        self, notification: Notification, error: DeliveryError, wait: int, *, counted: bool
    ) -> NoReturn:
        after = timedelta(milliseconds=wait)
        until = self._give_up_at(notification)
        deliveries.retry(notification, after, str(error), counted=counted, give_up_at=until)
        if counted:
            log_outcome(notification, DeliveryStatus.RETRYING, str(error))
        else:
            count_outcome(notification, "postponed")
        raise dramatiq.Retry(str(error), min(wait, MAX_DELAY_MS)) from error

    def _give_up_at(self, notification: Notification) -> datetime:
        return notification.give_up_at or utcnow() + self.sender.hold_for

    def _give_up(self, notification: Notification, error: DeliveryError) -> NoReturn:
        status = DeliveryStatus.UNCERTAIN if isinstance(error, Uncertain) else DeliveryStatus.FAILED
        surely(lambda: deliveries.end(notification, status, str(error)), OUTAGES)
        log_outcome(notification, status, str(error))
        raise DeliveryFailed(str(error)) from error


def surely(act: Callable[[], None], outages: tuple[type[Exception], ...]) -> None:
    """Record an outcome, and keep trying during an outage: if it is lost, the delivery is sent again.

    Args:
        act: safe to repeat.
        outages: errors after which it is tried again, for a minute.

    Raises:
        Exception: the last of those.
    """
    give_up_at = time.monotonic() + _RECORD_TIMEOUT_SECONDS
    while True:
        try:
            return act()
        except outages:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(_RECORD_PAUSE_SECONDS)
