"""Types for the content of a returned message."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BounceKind(StrEnum):
    """Whether another mail to the same address may arrive."""

    HARD = "hard"
    SOFT = "soft"


class Reason(StrEnum):
    """Why a mail was returned. `app.bounces.verdicts` maps replies to reasons."""

    NO_SUCH_RECIPIENT = "no_such_recipient"
    MAILBOX_DISABLED = "mailbox_disabled"
    MAILBOX_FULL = "mailbox_full"
    UNREACHABLE = "unreachable"
    EXPIRED = "expired"
    POLICY = "policy"
    SENDER = "sender"
    CONTENT = "content"
    TEMPORARY = "temporary"
    REFUSED = "refused"


class OtherMail(StrEnum):
    """Kind of a message that is not a bounce."""

    AUTO_REPLY = "auto_reply"
    CHALLENGE = "challenge"
    COMPLAINT = "complaint"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    MAILING_LIST = "mailing_list"
    READ_RECEIPT = "read_receipt"
    #: Too deeply nested, or not a message at all.
    MALFORMED = "malformed"
    UNRECOGNIZED = "unrecognized"


@dataclass(frozen=True)
class Verdict:
    """The meaning of a server's reply.

    Attributes:
        kind: hard or soft.
        reason: why the mail was returned.
        counts: whether it is about the recipient's address. A reply about our settings or a mail's content
            never suppresses an address.
    """

    kind: BounceKind
    reason: Reason
    counts: bool


@dataclass(frozen=True)
class Bounce:
    """A failed delivery.

    Attributes:
        recipients: every address that the report names for the failed recipient, lower case, the final
            recipient first: behind a forwarding address they differ.
        verdict: what the reply means.
        status: the enhanced status code (RFC 3463), such as `5.1.1`; None where the report has none.
        reply: the server's reply, on one line.
        message_id: Message-ID of the returned mail, in angle brackets; None if the report lacks it.
        report_id: identifies the report; copies have the same.
    """

    recipients: tuple[str, ...]
    verdict: Verdict
    status: str | None
    reply: str
    message_id: str | None
    report_id: str


@dataclass(frozen=True)
class NoBounce:
    """A message that is not a bounce."""

    what: OtherMail
