"""The timeline of a payment, from its record, its notifications, and operators' actions.

Incomplete documents are allowed: an entry without a time comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.models import OperatorAction

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

#: Field of a step → its label on the page.
_STEP_FIELDS = {
    "actor": "by",
    "note": "note",
    "request_id": "request",
    "gateway_id": "gateway",
    "event_id": "event",
}


@dataclass(frozen=True)
class Entry:
    """One entry of a timeline.

    Attributes:
        at: when; None if the record does not say.
        kind: payment, dispute, email, sms, operator, or outbox.
        what: the new state.
        subject: an id, or the operator.
        detail: name → value.
        link: the id of its notification.
    """

    at: datetime | None
    kind: str
    what: str
    subject: str = ""
    detail: Mapping[str, str] = field(default_factory=dict)
    link: str | None = None


def timeline(
    payment: Mapping[str, Any],
    deliveries: Iterable[Mapping[str, Any]],
    actions: Iterable[OperatorAction],
) -> list[Entry]:
    """Return everything on record about a payment, oldest first."""
    entries = list(_of_payment(payment))
    for delivery in deliveries:
        entries += _of_delivery(delivery)
    entries += [
        Entry(action.at, "operator", action.action, action.operator, _texts(action.details or {}))
        for action in actions
    ]
    return sorted(entries, key=lambda entry: entry.at or _LONG_AGO)


def _of_payment(payment: Mapping[str, Any]) -> Iterator[Entry]:
    for step in _parts(payment, "history"):
        detail = {shown: step.get(name) for name, shown in _STEP_FIELDS.items()}
        yield Entry(_time(step.get("at")), "payment", _text(step.get("status")), "", _texts(detail))
    for dispute in _parts(payment, "disputes"):
        what = f"dispute {_text(dispute.get('status'))}"
        yield Entry(
            _time(dispute.get("at")),
            "dispute",
            what,
            _text(dispute.get("id")),
            _texts({"reason": dispute.get("reason")}),
        )
    for waiting in _parts(payment, "outbox"):
        about = _texts({"event": waiting.get("event_id"), "type": waiting.get("event_type")})
        yield Entry(_time(waiting.get("created_at")), "outbox", "event not yet published", "", about)


def _of_delivery(delivery: Mapping[str, Any]) -> Iterator[Entry]:
    channel = _text(delivery.get("notification_type"))
    link, event_type = str(delivery["_id"]), _text(delivery.get("event_type"))
    yield Entry(_time(delivery.get("created_at")), channel, f"{event_type} recorded", link=link)
    for attempt in _parts(delivery, "attempts"):
        reply = _texts({"reply": attempt.get("detail")})
        yield Entry(_time(attempt.get("at")), channel, _text(attempt.get("outcome")), "", reply, link)


def _parts(record: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = record.get(name)
    return [each for each in found if isinstance(each, Mapping)] if isinstance(found, list) else []


def _time(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _text(value: Any) -> str:
    return str(value) if value else "unknown"


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value not in (None, "", [])}
