"""The statuses of a delivery (`notification_logs.status`)."""

from __future__ import annotations

from enum import StrEnum


class DeliveryStatus(StrEnum):
    """Where a delivery stands. docs/delivery.md has the state diagram."""

    #: Waits in its channel's queue.
    QUEUED = "queued"
    #: A worker holds its lease.
    SENDING = "sending"
    #: Waits for its next attempt.
    RETRYING = "retrying"
    #: Accepted by the mail server or the SMS provider.
    SENT = "sent"
    #: Not sent: no recipient, or no longer relevant.
    SKIPPED = "skipped"
    #: Refused for good, or all attempts used.
    FAILED = "failed"
    #: Submitted, but the reply never came: it may have been accepted.
    UNCERTAIN = "uncertain"


#: Statuses that no worker changes.
FINISHED = (
    DeliveryStatus.SENT,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNCERTAIN,
)

#: Finished without a known acceptance: each has a dead letter, and only an operator sends it again.
GIVEN_UP = (DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN)
