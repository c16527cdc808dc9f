"""The statuses of a delivery (`notification_logs.status`)."""

from __future__ import annotations

from enum import StrEnum


class DeliveryStatus(StrEnum):
    """Status of a delivery. docs/delivery.md has the state diagram."""

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
    #: Refused permanently, or all attempts used.
    FAILED = "failed"
    #: Submitted, but the reply never came: it may have been accepted.
    UNCERTAIN = "uncertain"
    #: The SMS provider reports that the phone received it.
    DELIVERED = "delivered"
    #: Accepted, but the SMS provider reports that the phone did not receive it.
    UNDELIVERED = "undelivered"
    #: Accepted, but a mail server returned it.
    BOUNCED = "bounced"


#: Accepted by a server or provider, whatever happened later. Only an operator sends it again.
ACCEPTED = (
    DeliveryStatus.SENT,
    DeliveryStatus.DELIVERED,
    DeliveryStatus.UNDELIVERED,
    DeliveryStatus.BOUNCED,
)

#: Accepted, but known not to have arrived.
RETURNED = (DeliveryStatus.UNDELIVERED, DeliveryStatus.BOUNCED)

#: Accepted, and not known to be lost: the recipient probably has it.
ARRIVED = tuple(status for status in ACCEPTED if status not in RETURNED)

#: Statuses that no worker changes.
FINISHED = (
    *ACCEPTED,
    DeliveryStatus.SKIPPED,
    DeliveryStatus.FAILED,
    DeliveryStatus.UNCERTAIN,
)

#: Finished without a known acceptance: each has a dead letter, and only an operator sends it again.
GIVEN_UP = (DeliveryStatus.FAILED, DeliveryStatus.UNCERTAIN)
