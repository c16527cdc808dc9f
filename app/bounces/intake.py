"""Handle returned messages from every source: match each to its mail, and act on it.

A report changes only a delivery that it identifies. It must carry the Message-ID of one of our mails, and the
recipient that this mail went to. A report without a Message-ID is recorded at the recipient's latest mail and
changes nothing, because anyone can forge one.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from bson import ObjectId
from mongoengine.errors import NotUniqueError

from app.addresses import InvalidAddress, parse_address
from app.bounces.parse import parse
from app.bounces.report import Bounce, BounceKind, NoBounce, OtherMail
from app.channels import ChannelName
from app.clock import utcnow
from app.feedback import records
from app.feedback.bounces import handle_bounce
from app.models import HandledBounce, Notification, storage_errors, storage_writes
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

#: Maximum age of a mail that is matched without a Message-ID. Servers stop retrying after five days.
_MATCHED_BY_ADDRESS = timedelta(days=7)

#: Name of an attempt that notes a report matched only by its address.
UNCONFIRMED = "bounce_unconfirmed"


class Door(StrEnum):
    """Where a returned message arrived."""

    MAILBOX = "bounce mailbox"
    COMMAND = "bounce command"
    WEBHOOK = "bounce webhook"


class Outcome(StrEnum):
    """The result of handling a returned message."""

    #: The delivery it names is `bounced` now.
    RECORDED = "recorded"
    #: This report was handled before.
    REPEATED = "repeated"
    #: It has no Message-ID of ours: noted at the recipient's latest mail without changing it.
    UNCONFIRMED = "unconfirmed"
    #: It names a mail of ours, but another recipient.
    CONTRADICTED = "contradicted"
    #: It names no mail of ours.
    UNMATCHED = "unmatched"
    #: It reports no failed delivery.
    NO_BOUNCE = "no_bounce"


_SETTLED = frozenset({Outcome.RECORDED, Outcome.REPEATED})

#: Messages for an operator to read: a customer's reply, or a bounce in an unknown format.
_FOR_A_PERSON = frozenset({OtherMail.COMPLAINT, OtherMail.MALFORMED, OtherMail.UNRECOGNIZED})


@dataclass(frozen=True)
class Taken:
    """A handled message.

    Attributes:
        outcome: see `Outcome`.
        notification_id: the delivery's, if one was found.
        bounce: the reported failure, or None.
        what: the kind of a message that is not a bounce.
    """

    outcome: Outcome
    notification_id: str | None = None
    bounce: Bounce | None = None
    what: OtherMail | None = None

    @property
    def is_settled(self) -> bool:
        """Return whether the message needs no operator."""
        return self.outcome in _SETTLED or (self.what is not None and self.what not in _FOR_A_PERSON)


def take(raw: bytes, settings: Settings, door: Door, now: datetime | None = None) -> Taken:
    """Handle one returned message. Safe to repeat at any point, also by two processes at once.

    Args:
        raw: the message as it came.
        settings: the process's settings.
        door: where it arrived.
        now: when it arrived; default: now.

    Raises:
        ServiceUnavailable: MongoDB is unavailable. Retry later.
    """
    found = parse(raw)
    if isinstance(found, NoBounce):
        taken = Taken(Outcome.NO_BOUNCE, what=found.what)
    else:
        taken = _take_bounce(found, settings, door, now or utcnow())
    _report(taken, door)
    return taken


def _take_bounce(bounce: Bounce, settings: Settings, door: Door, now: datetime) -> Taken:
    with storage_errors():
        notification = _named_by(bounce)
        if notification is None:
            return _note(bounce, now)
        notification_id = str(notification.id)
        if not _agrees(notification.recipient, bounce):
            return Taken(Outcome.CONTRADICTED, notification_id, bounce)
        if HandledBounce.find_one({"_id": bounce.report_id}) is not None:
            return Taken(Outcome.REPEATED, notification_id, bounce)
    verdict = bounce.verdict
    handle_bounce(
        notification,
        settings,
        permanent=verdict.kind is BounceKind.HARD if verdict.counts else None,
        reply=bounce.reply,
        source=door,
        now=now,
    )
    # Last, so that the report is handled again if the process dies before.
    with storage_writes():
        try:
            HandledBounce(
                id=bounce.report_id, notification_id=ObjectId(notification_id), received_at=now
            ).insert()
        except NotUniqueError:
            return Taken(Outcome.REPEATED, notification_id, bounce)
    return Taken(Outcome.RECORDED, notification_id, bounce)


def _named_by(bounce: Bounce) -> Notification | None:
    if bounce.message_id is None:
        return None
    named = {"message_id": bounce.message_id, "notification_type": ChannelName.EMAIL}
    return Notification.find_one(named)


def _note(bounce: Bounce, now: datetime) -> Taken:
    recent = Notification.objects(
        recipient__in=bounce.recipients,
        notification_type=ChannelName.EMAIL,
        sent_at__gte=now - _MATCHED_BY_ADDRESS,
    )
    latest = recent.order_by("-created_at").first()
    if latest is None:
        return Taken(Outcome.UNMATCHED, bounce=bounce)
    with storage_writes():
        records.noted(latest, UNCONFIRMED, bounce.reply, now)
    return Taken(Outcome.UNCONFIRMED, str(latest.id), bounce)


def _agrees(recipient: str | None, bounce: Bounce) -> bool:
    if not recipient:
        return False
    return _comparable(recipient) in map(_comparable, bounce.recipients)


def _comparable(address: str) -> str:
    """Return an address in the form that reports use: unquoted, in lower case, its domain in ASCII."""
    with suppress(InvalidAddress):
        address = str(parse_address(address))
    return address.replace('"', "").lower()


def _report(taken: Taken, door: Door) -> None:
    bounce = taken.bounce
    metrics.BOUNCES.labels(door, taken.outcome, bounce.verdict.kind if bounce else "").inc()
    log.info(
        "returned mail",
        door=door,
        outcome=taken.outcome,
        kind=bounce.verdict.kind if bounce else None,
        reason=bounce.verdict.reason if bounce else taken.what,
        reply_code=bounce.status if bounce else None,
        notification_id=taken.notification_id,
    )
