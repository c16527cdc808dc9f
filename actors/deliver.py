"""Send one delivery over any channel: claim, send, and record it; retry or fail it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import dramatiq
import redis
from bson import ObjectId
from pymongo.errors import AutoReconnect, ServerSelectionTimeoutError, WriteConcernError

from actors import deliveries
from actors.backoff import MAX_DELAY_MS, delay, spread
from actors.errors import DeliveryError, NotAllowed, Postponed, TemporaryFailure, Uncertain, Unsubscribed
from actors.relevance import review
from app.clock import from_iso, seconds, utcnow
from app.delivery_status import DeliveryStatus
from app.feedback.outcome import count_outcome, log_outcome
from app.models import OUTAGES
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from actors.receipts import Receipts
    from app.models import Notification

log = get_logger(__name__)

#: Number of lost workers after which a delivery is abandoned, because it probably kills them.
_MAX_ABANDONED = 10

#: A server is unavailable, and the delivery's worker is not to blame.
_OUTAGES = (*OUTAGES, redis.RedisError)

#: Why a delivery to a suppressed recipient is skipped.
SUPPRESSED = "suppressed"

#: The wait of a held delivery grows by a minute for each period of this many minutes.
HOLD_FRACTION = 10

#: The shortest wait before a delivery that may be another worker's is claimed again.
_RECLAIM_MS = 100

#: Seconds for which a worker retries recording an outcome, and seconds between two attempts.
_RECORD_TIMEOUT_SECONDS, _RECORD_PAUSE_SECONDS = 60.0, 0.5


class Sender(Protocol):
    """The implementation of one channel, from `app.channels`."""

    #: Longer than any `send` takes.
    lease: timedelta
    #: How long a delivery is held if the server, not the delivery, has failed.
    hold_duration: timedelta

    @property
    def is_quick(self) -> bool:
        """Return whether a delivery is likely to be accepted quickly."""

    def message_id(self, event_id: str) -> str | None:
        """Return the recipient's id of this delivery, if it is known before sending."""

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one delivery.

        Returns:
            Fields to record, such as the subject.

        Raises:
            DeliveryError: not accepted, or uncertain.
        """

    def close(self) -> None:
        """Close connections."""


class Suppressed(Protocol):
    """The suppression list, as seen by deliveries."""

    def check(self, notification: Notification) -> str | None:
        """Return why the recipient is suppressed; None if it is not."""

    def unsubscribed(self, notification: Notification) -> None:
        """Suppress a recipient who has unsubscribed at the provider."""


class DeliveryFailed(Exception):
    """A delivery failed permanently. Its message becomes a dead letter."""


class Deliver:
    """The actor of one channel: sends a delivery, and records the outcome.

    Args:
        sender: sends over the channel.
        receipts: stores acceptances that MongoDB can't record yet.
        max_retries: attempts after the first.
        suppressed: the suppression list.
        exceeded: returns why a delivery exceeds a limit, or None.

    Attributes:
        sender: the sender.
    """

    def __init__(
        self,
        sender: Sender,
        receipts: Receipts,
        max_retries: int,
        suppressed: Suppressed,
        exceeded: Callable[[Notification], str | None] = lambda _: None,
    ) -> None:
        self.sender = sender
        self._receipts = receipts
        self._max_retries = max_retries
        self._suppressed = suppressed
        self._exceeded = exceeded
        #: What to record once MongoDB is available. List operations are atomic.
        self._unrecorded: list[Callable[[], object]] = []

    def __call__(self, notification_id: str, *, given_up: bool = False) -> None:
        """Send one delivery, unless it was sent before.

        Args:
            notification_id: id of its document.
            given_up: the inline attempt failed permanently: this message becomes its dead letter, unless it
                was reopened since. So does any other message for a delivery that has failed, because the
                worker that recorded the failure may have died before it published a dead letter.

        Raises:
            dramatiq.Retry: a later attempt may succeed.
            DeliveryFailed: it can't succeed, or has used up its retries.
        """
        until = utcnow() + self.sender.lease
        try:
            claimed = deliveries.claim(notification_id, until)
        except ServerSelectionTimeoutError:
            raise  # not sent to MongoDB, so there is nothing to give back
        except (AutoReconnect, WriteConcernError):  # the claim may have been carried out
            self._give_back(lambda: deliveries.release(ObjectId(notification_id), until))
            raise
        if claimed is None:
            if deliveries.is_given_up(notification_id):
                attempt = "the inline delivery attempt" if given_up else "an earlier delivery attempt"
                raise DeliveryFailed(f"{attempt} failed permanently")
            return
        if isinstance(claimed, deliveries.Busy):
            wait = int((claimed.until - utcnow()).total_seconds() * 1_000)
            raise dramatiq.Retry(
                "the delivery is not due, or another worker holds its lease",
                min(max(_RECLAIM_MS, wait), MAX_DELAY_MS),
            )
        self.attempt(claimed)

    def attempt(self, notification: Notification) -> None:
        """Send a delivery whose lease this worker holds.

        Raises:
            dramatiq.Retry: a later attempt may succeed.
            DeliveryFailed: it can't succeed, or has used up its retries.
        """
        try:
            if not (notification.abandoned and self._is_settled(notification)):
                self._attempt(notification)
        except _OUTAGES:
            self._give_back(lambda: deliveries.give_back(notification))
            raise

    def _give_back(self, record: Callable[[], object]) -> None:
        """Give back a delivery now, or else once MongoDB is available."""
        self._unrecorded.append(record)
        with suppress(*OUTAGES):
            self.catch_up()

    def catch_up(self) -> None:
        """Record the outcomes that an outage kept this process from recording. Without one, the delivery is
        given back.

        Raises:
            Exception: one of `OUTAGES`. The outcomes are kept for the next call.
        """
        with suppress(IndexError):
            while True:
                record = self._unrecorded.pop()
                try:
                    record()
                except OUTAGES:
                    self._unrecorded.append(record)
                    raise

    def _attempt(self, notification: Notification) -> None:
        reason, event = review(notification, utcnow())
        if reason:
            self._skip(notification, reason)
            return
        if reason := self._suppressed.check(notification):
            self._skip(notification, SUPPRESSED, f"{SUPPRESSED}: {reason}")
            return
        if reason := self._exceeded(notification):
            self._skip(notification, reason)
            return
        # This process may have been paused. Without `due_at`, a report settled the delivery during its claim.
        if notification.due_at is None or utcnow() >= notification.due_at:
            raise dramatiq.Retry("the lease ended before sending", _RECLAIM_MS)
        # Only in memory, and only for sending: the stored event must stay as it was published.
        notification.event_data = event  # type: ignore[assignment]
        try:
            fields = self.sender.send(notification)
        except Unsubscribed as error:
            self._suppressed.unsubscribed(notification)
            self._skip(notification, SUPPRESSED, f"{SUPPRESSED}: {error}")
        except NotAllowed as error:
            self._skip(notification, str(error))
        except Postponed as error:
            self._postpone(notification, error)
        except TemporaryFailure as error:
            self._retry(notification, error)
        except DeliveryError as error:
            self._give_up(notification, error)
        except _OUTAGES:
            raise  # before submission: no channel uses these servers later
        except Exception as error:  # a bug: its effect is unknown, so an operator has to check first
            log.exception("unexpected error", event_id=notification.event_id)
            self._give_up(notification, DeliveryError(f"unexpected {type(error).__name__}: {error!s:.300}"))
        else:
            self._accepted(notification, utcnow(), fields)

    def _skip(self, notification: Notification, reason: str, note: str | None = None) -> None:
        deliveries.end(notification, DeliveryStatus.SKIPPED, reason, note)
        log_outcome(notification, DeliveryStatus.SKIPPED, note or reason)

    def _is_settled(self, notification: Notification) -> bool:
        """Return whether a delivery that another worker abandoned needs no sending."""
        receipt = self._receipts.find(notification)
        if isinstance(receipt, Uncertain):
            self._give_up(notification, receipt)
        if receipt is not None:
            deliveries.sent(notification, **receipt)
            log_outcome(notification, DeliveryStatus.SENT, "accepted earlier, recorded now")
            return True
        abandoned = notification.abandoned - notification.excused
        if abandoned >= _MAX_ABANDONED:
            detail = f"{abandoned} workers claimed the delivery, and none recorded an outcome"
            error = DeliveryError(detail)
            self._give_up(notification, error)
        return False

    def _accepted(self, notification: Notification, sent_at: datetime, fields: Mapping[str, Any]) -> None:
        def record() -> None:
            self._receipts.keep(notification, sent_at, fields)
            deliveries.sent(notification, sent_at, **fields)

        self._record(record)
        log_outcome(notification, DeliveryStatus.SENT)
        happened = from_iso(notification.event_data.get("timestamp")) or notification.created_at
        metrics.EVENT_AGE.labels(notification.notification_type).observe(seconds(happened, sent_at))

    def _postpone(self, notification: Notification, error: Postponed) -> NoReturn:
        """Hold the delivery. Attempts become less frequent the longer it is held."""
        until = self._give_up_at(notification)
        if utcnow() >= until:
            self._give_up(notification, error)
        held = self.sender.hold_duration - (until - utcnow())
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
        return notification.give_up_at or utcnow() + self.sender.hold_duration

    def _give_up(self, notification: Notification, error: DeliveryError) -> NoReturn:
        status = DeliveryStatus.UNCERTAIN if isinstance(error, Uncertain) else DeliveryStatus.FAILED

        def record() -> None:
            if status is DeliveryStatus.UNCERTAIN:
                self._receipts.keep_uncertain(notification, str(error))
            deliveries.end(notification, status, str(error))

        self._record(record)
        log_outcome(notification, status, str(error))
        raise DeliveryFailed(str(error)) from error

    def _record(self, record: Callable[[], None]) -> None:
        """Record an outcome. After a minute of outage, `catch_up` records it once MongoDB is available."""
        try:
            surely(record, OUTAGES)
        except OUTAGES as error:
            self._unrecorded.append(record)
            log.warning("outcome not recorded yet", reason=type(error).__name__)


def surely(act: Callable[[], None], outages: tuple[type[Exception], ...]) -> None:
    """Carry out an action, with retries during an outage.

    Args:
        act: safe to repeat.
        outages: errors to retry after, for a minute.

    Raises:
        Exception: the last of these errors.
    """
    give_up_at = time.monotonic() + _RECORD_TIMEOUT_SECONDS
    while True:
        try:
            return act()
        except outages:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(_RECORD_PAUSE_SECONDS)
