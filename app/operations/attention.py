"""Find what needs an operator's attention, with the number of messages or the money at stake.

Each check is one indexed query. A check that fails is itself a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bson.decimal128 import Decimal128

from app.clock import utcnow
from app.delivery_status import GIVEN_UP, DeliveryStatus
from app.errors import Problem
from app.messaging.depths import queue_depths
from app.models import Notification, Suppression, Transaction, storage_errors
from app.operations.mail_servers import MailServers
from app.operations.reasons import reason_of
from app.payments.outbox import backlog
from app.payments.states import DISPUTE_CLOSED, PaymentStatus

if TYPE_CHECKING:
    from app.settings import Settings

#: Age at which the outcome of a payment should be known.
UNKNOWN_AFTER = timedelta(minutes=1)

#: Age at which an event should be published.
_UNPUBLISHED_AFTER = timedelta(minutes=1)

#: A certificate that expires within this time is reported.
_CERTIFICATE_DAYS = timedelta(days=21)

#: Maximum number of deliveries whose errors are grouped, and of reasons shown.
_MAX_GROUPED = 2_000
_MAX_REASONS = 5

#: A spike: at least this many suppressions within an hour, and this multiple of the usual number.
_SPIKE_COUNT = 10
_SPIKE_FACTOR = 5

#: Time limit of one aggregation, in milliseconds.
_TIME_LIMIT_MS = 3_000

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Item:
    """Something that needs attention.

    Attributes:
        kind: name of the finding, linked to a list by the dashboard.
        count: number of payments or messages.
        sums: currency → major units at stake.
        detail: more information. May contain personal data: mask it.
        since: start of the problem.
        due: deadline to act.
        filter: filter of the list.
    """

    kind: str
    title: str
    count: int = 0
    sums: Mapping[str, Decimal] = field(default_factory=dict)
    detail: str = ""
    since: datetime | None = None
    due: datetime | None = None
    filter: Mapping[str, str] = field(default_factory=dict)


def issue_filters(now: datetime) -> dict[str, dict[str, Any]]:
    """Return name of an issue → MongoDB filter of its payments."""
    return {
        "unknown": {"status": PaymentStatus.PENDING.value, "created_at": {"$lt": now - UNKNOWN_AFTER}},
        "charged": {"stray_charge": {"$gt": ""}},
        # A range query uses the sparse index.
        "disputed": {"disputes": {"$elemMatch": {"status": {"$gt": "", "$nin": sorted(DISPUTE_CLOSED)}}}},
        "unpublished": {"outbox_since": {"$gt": _EVER}},
    }


def needs_attention(settings: Settings) -> list[Item]:
    """Return everything that needs attention, payments first."""
    found: list[Item] = []
    for name, look in _LOOKS.items():
        try:
            with storage_errors():
                found += look(settings)
        except Problem as problem:
            found.append(Item("unreadable", f"Can't check {name}", detail=problem.message))
    return found


def _sums(condition: dict[str, Any]) -> tuple[int, dict[str, Decimal], datetime | None]:
    group = {
        "_id": "$currency",
        "count": {"$sum": 1},
        "amount": {"$sum": "$amount"},
        "since": {"$min": "$created_at"},
    }
    count, sums, since = 0, {}, []
    for each in Transaction.summarize([{"$match": condition}, {"$group": group}], _TIME_LIMIT_MS):
        count += each["count"]
        sums[str(each["_id"] or "unknown")] = decimal(each["amount"])
        if isinstance(each["since"], datetime):
            since.append(each["since"])
    return count, sums, min(since, default=None)


def decimal(value: Any) -> Decimal:
    """Convert a MongoDB sum, which is an integer if there was nothing to add."""
    return value.to_decimal() if isinstance(value, Decimal128) else Decimal(value or 0)


def _unknown(_settings: Settings) -> Iterator[Item]:
    count, sums, since = _sums(issue_filters(utcnow())["unknown"])
    if count:
        detail = (
            "The gateway did not respond. A worker looks up each outcome. To look up an outcome now, open "
            "the payment."
        )
        title = "Payments with an unknown outcome"
        yield Item("unknown", title, count, sums, detail, since, filter={"issue": "unknown"})


def _charged(_settings: Settings) -> Iterator[Item]:
    count, sums, since = _sums(issue_filters(utcnow())["charged"])
    if count:
        title = "Charged although failed"
        detail = "The customer paid and has no booking. Refund the charge."
        yield Item("charged", title, count, sums, detail, since, filter={"issue": "charged"})


def _disputed(_settings: Settings) -> Iterator[Item]:
    count, sums, due = 0, Counter[str](), []
    condition = issue_filters(utcnow())["disputed"]
    for payment in Transaction.select(condition, ["disputes", "amount", "currency"], limit=1_000):
        count += 1
        for dispute in payment["disputes"]:
            if dispute.get("status") not in DISPUTE_CLOSED:
                amount = decimal(dispute.get("amount") or payment.get("amount"))
                sums[str(payment.get("currency"))] += amount  # type: ignore[assignment] # Decimals add alike
                due += [dispute["evidence_due_by"]] if dispute.get("evidence_due_by") else []
    if count:
        detail = "Respond in Stripe's dashboard. Without evidence, the bank refunds the customer."
        amounts = {currency: Decimal(amount) for currency, amount in sums.items()}
        first = min(due, default=None)
        title = "Open disputes"
        yield Item("disputed", title, count, amounts, detail, due=first, filter={"issue": "disputed"})


def _dead_letters(settings: Settings) -> Iterator[Item]:
    for depth in queue_depths(settings):
        if depth.dead:
            title = f"Dead letters in {depth.queue}"
            yield Item("dead", title, depth.dead, filter={"queue": depth.queue})
    given_up = {"status": {"$in": sorted(GIVEN_UP)}, "created_at": {"$gt": utcnow() - timedelta(days=30)}}
    newest = Notification.select(
        given_up, ["error_message", "created_at"], sort=[("created_at", -1)], limit=_MAX_GROUPED
    )
    reasons: dict[str, list[datetime]] = {}
    for each in newest:
        reasons.setdefault(reason_of(each.get("error_message")), []).append(each["created_at"])
    for reason, times in sorted(reasons.items(), key=lambda item: -len(item[1]))[:_MAX_REASONS]:
        yield Item(
            "undelivered",
            "Messages not delivered",
            len(times),
            detail=reason,
            since=min(times),
            filter={"reason": reason},
        )


def _mail_servers(settings: Settings) -> Iterator[Item]:
    servers = MailServers(settings)
    try:
        states = servers.states()
    finally:
        servers.close()
    now = utcnow()
    for server in states:
        name = f"The {server.relay} mail server {server.address}"
        if server.since:
            held = {"status": DeliveryStatus.RETRYING.value, "notification_type": "email"}
            count = Notification.objects(__raw__=held).limit(10_000).count(True)
            yield Item(
                "relay",
                f"{name} is failing",
                count,
                detail=server.reason or "",
                since=server.since,
                filter={"status": DeliveryStatus.RETRYING.value},
            )
        if server.certificate_until and server.certificate_until < now + _CERTIFICATE_DAYS:
            title = f"The certificate of the {server.relay} mail server {server.address} expires"
            yield Item("certificate", title, detail="Renew the certificate.", due=server.certificate_until)


def _suppressions(_settings: Settings) -> Iterator[Item]:
    now = utcnow()
    hour, week = now - timedelta(hours=1), now - timedelta(days=7)
    recent = Suppression.objects(created_at__gte=hour).limit(10_000).count(True)
    before = Suppression.objects(created_at__gte=week, created_at__lt=hour).limit(10_000).count(True)
    if recent >= _SPIKE_COUNT and recent > _SPIKE_FACTOR * before / (7 * 24):
        detail = "More recipients than usual were suppressed within an hour. Look at the newest bounces."
        title = "Suppressions have risen"
        yield Item("suppressed", title, recent, detail=detail, since=hour, filter={"status": "bounced"})


def _unpublished(_settings: Settings) -> Iterator[Item]:
    count, since = backlog()
    if since and since < utcnow() - _UNPUBLISHED_AFTER:
        detail = "Check that the broker and a worker run. Until they do, customers are not notified."
        title = "Payments with unpublished events"
        yield Item("unpublished", title, count, {}, detail, since, filter={"issue": "unpublished"})


#: The checks, in the order in which they are shown.
_LOOKS: dict[str, Callable[[Settings], Iterator[Item]]] = {
    "payments with an unknown outcome": _unknown,
    "charges of failed payments": _charged,
    "disputes": _disputed,
    "dead letters": _dead_letters,
    "the mail servers": _mail_servers,
    "suppressions": _suppressions,
    "unpublished events": _unpublished,
}
