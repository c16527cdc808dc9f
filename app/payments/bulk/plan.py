"""Plan a bulk refund: a verdict for each line of the list, and the totals."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from app.errors import RefundNotAllowed
from app.payments import changes
from app.payments.bulk.records import REFUNDED_VERDICTS, Entry, Line, LineStatus, Verdict
from app.payments.states import REFUNDABLE, UNSETTLED, PaymentStatus

if TYPE_CHECKING:
    from app.payments.ledger import Ledger
    from app.payments.records import Payment

#: Status of a payment that can't be refunded → verdict.
_BY_STATUS = {
    PaymentStatus.PENDING: Verdict.PENDING,
    PaymentStatus.REQUIRES_ACTION: Verdict.PENDING,
    PaymentStatus.REFUNDED: Verdict.ALREADY_REFUNDED,
    PaymentStatus.CANCELED: Verdict.CANCELED,
    PaymentStatus.FAILED: Verdict.FAILED,
}

#: Which of a booking's payments is used: a refundable one, else an open one, else a refunded one.
_PREFERENCE = (REFUNDABLE, UNSETTLED, frozenset({PaymentStatus.REFUNDED}))

_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Z]{3})?")


def make_plan(ledger: Ledger, entries: Sequence[Entry]) -> list[Line]:
    """Look up the payments of a list and decide about each line.

    Raises:
        ServiceUnavailable: the database is unavailable.
    """
    by_id = ledger.find_all({entry.transaction_id for entry in entries if entry.transaction_id})
    bookings = {entry.booking_id for entry in entries if entry.booking_id and not entry.transaction_id}
    by_booking: dict[str, list[Payment]] = defaultdict(list)
    for payment in ledger.find_by_bookings(bookings):
        by_booking[payment.booking_id].append(payment)
    return decide(entries, by_id, by_booking)


def decide(
    entries: Iterable[Entry], by_id: Mapping[str, Payment], by_booking: Mapping[str, Sequence[Payment]]
) -> list[Line]:
    """Decide about each line of a list.

    Args:
        entries: the list.
        by_id: payments of the list by id.
        by_booking: payments of the list's bookings.
    """
    lines: list[Line] = []
    seen: set[str] = set()
    for entry in entries:
        if entry.transaction_id:
            payment = by_id.get(entry.transaction_id)
        else:
            payment = _counting(by_booking.get(entry.booking_id or "", ()))
        line = _line(entry, payment)
        if payment and line.verdict != Verdict.OTHER_BOOKING:
            if payment.id in seen:
                line = _excluded(line, Verdict.DUPLICATE)
            seen.add(payment.id)
        lines.append(line)
    return lines


def totals_of(lines: Iterable[Line]) -> dict[str, Decimal]:
    """Return a plan's totals: currency → amount in major units."""
    totals: dict[str, Decimal] = {}
    for line in lines:
        if line.amount is not None and line.currency:
            totals[line.currency] = totals.get(line.currency, Decimal(0)) + line.amount
    return dict(sorted(totals.items()))


def total_text(totals: Mapping[str, Decimal]) -> str:
    """Format totals for an operator to repeat: `5000 JPY, 1234.50 USD`."""
    return ", ".join(f"{amount} {currency}" for currency, amount in sorted(totals.items()))


def repeats_total(typed: str, totals: Mapping[str, Decimal]) -> bool:
    """Return whether an operator's input is the total. A single currency may be left out."""
    found: dict[str, Decimal] = {}
    for part in typed.upper().split(","):
        match = _PART.fullmatch(part.strip())
        if match is None:
            return False
        currency = match[2] or (next(iter(totals)) if len(totals) == 1 else "")
        if currency in found:
            return False
        found[currency] = Decimal(match[1])
    return found == dict(totals)


def digest_of(entries: Iterable[Entry]) -> str:
    """Return the digest that identifies a list."""
    ids = [(entry.transaction_id, entry.booking_id) for entry in entries]
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _counting(payments: Sequence[Payment]) -> Payment | None:
    for statuses in _PREFERENCE:
        found = [payment for payment in payments if payment.status in statuses]
        if found:
            return max(found, key=lambda payment: payment.created_at)
    return max(payments, key=lambda payment: payment.created_at, default=None)


def _line(entry: Entry, payment: Payment | None) -> Line:
    if payment is None:
        return Line(entry.number, Verdict.UNKNOWN, entry.transaction_id, entry.booking_id)
    verdict = _verdict(entry, payment)
    line = Line(entry.number, verdict, payment.id, payment.booking_id, currency=payment.currency)
    if verdict in REFUNDED_VERDICTS:
        return replace(line, amount=payment.refundable, status=LineStatus.OPEN)
    return line


def _verdict(entry: Entry, payment: Payment) -> Verdict:
    if entry.booking_id and entry.booking_id != payment.booking_id:
        return Verdict.OTHER_BOOKING
    if verdict := _BY_STATUS.get(payment.status):
        return verdict
    if any(dispute.holds_money for dispute in payment.disputes):
        return Verdict.DISPUTED
    if not entry.eligible:
        return Verdict.NOT_ELIGIBLE
    if not payment.refundable:
        return Verdict.REFUND_PENDING
    try:
        changes.check_refundable(payment)
    except RefundNotAllowed:
        return Verdict.NOT_REFUNDABLE
    return Verdict.REST if payment.refund_reserved else Verdict.REFUND


def _excluded(line: Line, verdict: Verdict) -> Line:
    return replace(line, verdict=verdict, amount=None, status=LineStatus.EXCLUDED)
