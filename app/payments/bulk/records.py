"""Records of bulk refunds and their lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

#: Maximum number of lines of one list.
MAX_LINES = 10_000

#: Refunds a second. Stripe accepts 25 requests a second at an endpoint. Mass refunds stay far below that, so
#: that payments are not refused: https://docs.stripe.com/rate-limits
DEFAULT_RATE = 10.0
#: Stripe raises the limit of an account on request.
MAX_RATE = 100.0

#: Default reason of a refund; customers read it.
DEFAULT_REASON = "The screening was canceled"


class RunStatus(StrEnum):
    """Status of a run."""

    PLANNED = "planned"
    RUNNING = "running"
    STOPPED = "stopped"
    FINISHED = "finished"


class LineStatus(StrEnum):
    """Status of a line."""

    OPEN = "open"
    CLOSED = "closed"
    EXCLUDED = "excluded"


class Verdict(StrEnum):
    """The plan's decision on a line. The first two are refunded."""

    REFUND = "refund"
    REST = "rest"
    ALREADY_REFUNDED = "already_refunded"
    DUPLICATE = "duplicate"
    DISPUTED = "disputed"
    REFUND_PENDING = "refund_pending"
    PENDING = "pending"
    CANCELED = "canceled"
    FAILED = "failed"
    UNKNOWN = "unknown"
    OTHER_BOOKING = "other_booking"
    NOT_ELIGIBLE = "not_eligible"
    NOT_REFUNDABLE = "not_refundable"


REFUNDED_VERDICTS = frozenset({Verdict.REFUND, Verdict.REST})

#: Verdict → text for operators.
VERDICT_TEXTS: dict[Verdict, str] = {
    Verdict.REFUND: "to refund in full",
    Verdict.REST: "to refund the rest, because part was refunded before",
    Verdict.ALREADY_REFUNDED: "already refunded in full",
    Verdict.DUPLICATE: "the same payment is on an earlier line",
    Verdict.DISPUTED: "disputed: the cardholder's bank decides the dispute",
    Verdict.REFUND_PENDING: "another refund of the payment is pending",
    Verdict.PENDING: "not paid yet: pending or waiting for the customer",
    Verdict.CANCELED: "canceled: nothing was charged",
    Verdict.FAILED: "failed: nothing was charged",
    Verdict.UNKNOWN: "no payment is on record",
    Verdict.OTHER_BOOKING: "the payment belongs to a different booking than the list says",
    Verdict.NOT_ELIGIBLE: "the booking was canceled before and is not eligible for a refund",
    Verdict.NOT_REFUNDABLE: "the payment already has the maximum number of refunds",
}


@dataclass(frozen=True)
class Entry:
    """One line of a list: a payment, or a booking.

    Attributes:
        number: line number, from 1.
        eligible: False if an event says that the booking can't be refunded.
    """

    number: int
    transaction_id: str | None = None
    booking_id: str | None = None
    eligible: bool = True


@dataclass(frozen=True)
class Line:
    """One line of a plan.

    Attributes:
        number: line number in the list, from 1.
        verdict: the plan's decision.
        amount: planned refund in major units; None if none.
        status: whether something is left to do.
        looks: number of lookups of its refund that left the outcome unknown.
        note: why it was closed without a refund, if the payment does not record it.
    """

    number: int
    verdict: Verdict
    transaction_id: str | None = None
    booking_id: str | None = None
    amount: Decimal | None = None
    currency: str | None = None
    status: LineStatus = LineStatus.EXCLUDED
    looks: int = 0
    note: str | None = None


@dataclass(frozen=True)
class Run:
    """A bulk refund.

    Attributes:
        id: `RUN-…`.
        source: where the list came from, for operators.
        digest: digest of the list.
        reason: reason of every refund; customers read it.
        rate: maximum number of refunds a second.
        operator: who created the plan.
        totals: currency → planned refunds in major units.
        retry_at: earliest time for workers to continue.
    """

    id: str
    status: RunStatus
    source: str
    digest: str
    reason: str
    rate: float
    operator: str
    line_count: int
    created_at: datetime
    totals: Mapping[str, Decimal] = field(default_factory=dict)
    confirmed_at: datetime | None = None
    finished_at: datetime | None = None
    retry_at: datetime | None = None
