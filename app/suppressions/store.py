"""Read and write the suppression list. The only writer of `suppressions` and `soft_bounces`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from contextlib import suppress
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from mongoengine.errors import NotUniqueError

from app.clock import utcnow
from app.models import storage_errors, storage_writes
from app.models.suppression import SOFT_BOUNCE_WINDOW, SoftBounce, Suppression, SuppressionReason
from app.suppressions import pause
from app.suppressions.addresses import hint, suppression_id
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.channels import ChannelName
    from app.settings import Settings

log = get_logger(__name__)

#: Soft bounces within a week that suppress a recipient.
_MAX_SOFT_BOUNCES = 2

#: Reasons reported by bounces. The pause applies only to these.
BOUNCE_REASONS = frozenset({SuppressionReason.HARD_BOUNCE, SuppressionReason.SOFT_BOUNCES})

#: Reasons that START lifts. Only an operator removes an entry of an operator.
LIFTED_BY_START = BOUNCE_REASONS | {SuppressionReason.STOP}

#: Reason → the reasons that it replaces in an entry.
_REPLACES: dict[SuppressionReason, Collection[SuppressionReason]] = {
    SuppressionReason.HARD_BOUNCE: (SuppressionReason.SOFT_BOUNCES,),
    SuppressionReason.SOFT_BOUNCES: (),
    SuppressionReason.STOP: tuple(BOUNCE_REASONS),
    SuppressionReason.OPERATOR: tuple(LIFTED_BY_START),
}


class Result(StrEnum):
    """The result of a report about a recipient."""

    #: It is suppressed now.
    ADDED = "added"
    #: It was suppressed before; the entry was extended.
    KNOWN = "known"
    #: A first soft bounce: recorded, but not suppressed.
    NOTED = "noted"
    #: Too many messages bounce: suppression is paused.
    PAUSED = "paused"


class Suppressions:
    """The suppression list. Callers pass plain addresses; the list stores keyed hashes.

    Every method is safe to repeat, and to run in many processes at once.

    Args:
        key: key of the hashes.
        kept: lifetime of an entry after its last report.
    """

    def __init__(self, key: bytes, kept: timedelta) -> None:
        self._key = key
        self._kept = kept

    def suppress(
        self,
        channel: ChannelName,
        address: str,
        *,
        reason: SuppressionReason,
        source: str,
        now: datetime,
        note: str | None = None,
    ) -> Result:
        """Suppress a recipient, unless a bounce reports it while too many messages bounce.

        Record the delivery as bounced first (`app.feedback`): the pause counts those records.

        Args:
            channel: the channel.
            address: an email address or a phone number.
            reason: the reason. A stronger reason replaces a weaker one; an equal one prolongs the entry.
            source: what reports it, for example `bounce mailbox`. No personal data.
            now: the time of the report.
            note: an operator's explanation.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        if reason in BOUNCE_REASONS and self._paused(channel, now):
            return self._counted(channel, reason, Result.PAUSED)
        entry = Suppression(
            id=suppression_id(self._key, channel, address),
            channel=channel,
            reason=reason,
            source=source[:200],
            note=note[:500] if note else None,
            hint=hint(channel, address),
            created_at=now,
            expires_at=now + self._kept,
        )
        return self._counted(channel, reason, self._store(entry))

    def note_soft_bounce(
        self, channel: ChannelName, address: str, *, delivery: str, source: str, now: datetime
    ) -> Result:
        """Record a soft bounce, and suppress the recipient at the second within a week.

        While too many messages bounce, this does neither. Record the delivery as bounced first, as for
        `suppress`.

        Args:
            channel: the channel.
            address: an email address or a phone number.
            delivery: id of the bounced message, for example the notification's: repeated reports count once.
            source: what reports it.
            now: the time of the report.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        reason = SuppressionReason.SOFT_BOUNCES
        if self._paused(channel, now):
            return self._counted(channel, reason, Result.PAUSED)
        recipient = suppression_id(self._key, channel, address)
        digest = hashlib.sha256(delivery.encode()).hexdigest()[:32]
        bounce = SoftBounce(id=f"{recipient}:{digest}", recipient=recipient, at=now)
        with storage_writes():
            with suppress(NotUniqueError):  # reported before
                bounce.insert()
            recent = SoftBounce.objects(recipient=recipient, at__gt=now - SOFT_BOUNCE_WINDOW)
            count = recent.limit(_MAX_SOFT_BOUNCES).count(True)
        if count < _MAX_SOFT_BOUNCES:
            return self._counted(channel, reason, Result.NOTED)
        return self.suppress(channel, address, reason=reason, source=source, now=now)

    def note_other_bounce(self, channel: ChannelName, now: datetime) -> Result | None:
        """Pause suppression if too many messages bounce, after a bounce that does not count.

        Record the delivery as bounced first, as for `suppress`.

        Returns:
            `Result.PAUSED`, or None.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        return self._counted(channel, "", Result.PAUSED) if self._paused(channel, now) else None

    def lift(
        self,
        channel: ChannelName,
        address: str,
        *,
        by: str,
        reasons: Collection[SuppressionReason] = tuple(SuppressionReason),
    ) -> bool:
        """End a recipient's suppression, and forget its soft bounces.

        Args:
            channel: the channel.
            address: an email address or a phone number.
            by: who ends it, for the log.
            reasons: only entries with one of these.

        Returns:
            Whether there was a suppression.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        return self.remove(suppression_id(self._key, channel, address), by=by, reasons=reasons)

    def remove(
        self, entry_id: str, *, by: str, reasons: Collection[SuppressionReason] = tuple(SuppressionReason)
    ) -> bool:
        """End the suppression with an id, as `lift` does; return whether there was one.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        with storage_writes():
            removed = bool(Suppression.objects(id=entry_id, reason__in=list(reasons)).delete())
            if removed:
                SoftBounce.objects(recipient=entry_id).delete()
        if removed:
            log.info("suppression lifted", suppression=entry_id, by=by)
        return removed

    def find(self, channel: ChannelName, address: str) -> Suppression | None:
        """Return the entry that suppresses a recipient now; None if it may get messages.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        record_id = suppression_id(self._key, channel, address)
        with storage_errors():
            return Suppression.find_one({"_id": record_id, "expires_at": {"$gt": utcnow()}})

    def entry_id(self, channel: ChannelName, address: str) -> str:
        """Return a recipient's id in the list, for audit records instead of the address."""
        return suppression_id(self._key, channel, address)

    def _store(self, entry: Suppression) -> Result:
        document = entry.to_mongo()
        identity = {"_id": document.pop("_id")}
        replaced: list[dict[str, Any]] = [
            {"expires_at": {"$lte": entry.created_at}},
            {"reason": {"$in": [str(reason) for reason in _REPLACES[entry.reason]]}},
        ]
        with storage_writes():
            if Suppression.compare_and_set(identity | {"$or": replaced}, {"$set": document}):
                return Result.ADDED
            try:
                entry.insert()
            except NotUniqueError:
                later = {"expires_at": {"$lt": entry.expires_at}}
                Suppression.compare_and_set(identity | later, {"$set": {"expires_at": entry.expires_at}})
                return Result.KNOWN
        return Result.ADDED

    def _paused(self, channel: ChannelName, now: datetime) -> bool:
        rate = pause.measure(channel, now)
        if not rate.is_paused:
            return False
        since = now - pause.WINDOW
        with storage_writes():
            withdrawn = Suppression.objects(
                channel=channel, reason__in=list(BOUNCE_REASONS), created_at__gte=since
            ).delete()
            # They would count for a week, although the recipients are probably healthy. `;` follows `:`.
            SoftBounce.objects(
                recipient__gt=f"{channel}:", recipient__lt=f"{channel};", at__gte=since
            ).delete()
        log.error(
            "suppression paused: too many messages bounce",
            channel=channel,
            bounced=rate.bounced,
            accepted=rate.accepted,
            withdrawn=withdrawn,
        )
        return True

    @staticmethod
    def _counted(channel: ChannelName, reason: SuppressionReason | Literal[""], result: Result) -> Result:
        metrics.SUPPRESSIONS.labels(channel, reason, result).inc()
        if result is Result.ADDED:
            log.info("recipient suppressed", channel=channel, reason=reason)
        return result


def listed(*, channel: str | None = None, reason: str | None = None) -> Any:
    """Return a query for active entries, newest first, optionally by channel or reason."""
    filters = {"channel": channel, "reason": reason}
    given = {name: value for name, value in filters.items() if value is not None}
    return Suppression.objects(expires_at__gt=utcnow(), **given).order_by("-created_at", "-id")


def make_suppressions(settings: Settings) -> Suppressions:
    """Return the list with the key and lifetime from `settings`."""
    return Suppressions(settings.suppression_secret, timedelta(days=settings.suppression_days))
