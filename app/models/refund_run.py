"""Bulk refunds: a run, and the lines of its list."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import (
    DateTimeField,
    Decimal128Field,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    FloatField,
    IntField,
    StringField,
)

from app.models.database import Record


class RunTotal(EmbeddedDocument):
    """A run's total in one currency."""

    currency = StringField(required=True)
    #: Sum of the planned refunds, in major units.
    amount = Decimal128Field(required=True)


class RefundRun(Record):
    """A planned or confirmed bulk refund (`RUN-…`).

    Only `app.payments.bulk.store` writes this collection.
    """

    id = StringField(primary_key=True)
    #: Status of the run: planned, running, stopped, or finished.
    status = StringField(required=True)
    #: Source of the list: a file name or a showtime.
    source = StringField(required=True)
    #: SHA-256 of the list, to find an unfinished run of the same list.
    digest = StringField(required=True)
    #: Reason for every refund of the run. Customers see this reason.
    reason = StringField(required=True)
    #: Maximum number of refunds per second.
    rate = FloatField(required=True)
    #: The operator who planned the run.
    operator = StringField(required=True)
    line_count = IntField(required=True)
    totals = EmbeddedDocumentListField(RunTotal)

    created_at = DateTimeField(required=True)
    confirmed_at = DateTimeField()
    finished_at = DateTimeField()

    #: `executing` while a process executes the run. Unique, so that only one run is executed at a time.
    slot = StringField()
    #: The process that executes the run until `lease_until`.
    lease_owner = StringField()
    lease_until = DateTimeField()
    #: Time before which workers do not continue the run. Set after repeated refusals by the gateway.
    retry_at = DateTimeField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "refund_runs",
        "indexes": [
            {"fields": ["slot"], "unique": True, "sparse": True},
            {"fields": ["status", "confirmed_at"]},
            {"fields": ["digest", "-created_at"]},
            {"fields": ["-created_at", "-id"]},
        ],
    }


class RefundRunLine(Record):
    """One line of the list of a bulk refund. The refund itself is stored in the payment.

    Only `app.payments.bulk.store` writes this collection.
    """

    #: The run's id and the line's number.
    id = StringField(primary_key=True)
    run_id = StringField(required=True)
    number = IntField(required=True)
    #: The payment that the list names, or that was found for the booking.
    transaction_id = StringField()
    booking_id = StringField()
    #: Amount of the planned refund, in major units; unset if nothing is refunded.
    amount = Decimal128Field()
    currency = StringField()
    #: Decision of the plan: `refund`, `rest` (what is left of the payment), or why nothing is refunded.
    verdict = StringField(required=True)
    #: Status of the line: open, closed, or excluded (nothing to refund).
    status = StringField(required=True)
    #: Number of times that the outcome of the line's refund was still unknown.
    looks = IntField()
    #: Why the line was closed without a refund, if the payment does not record the reason.
    note = StringField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "refund_run_lines",
        "indexes": [{"fields": ["run_id", "status", "looks", "number"]}, {"fields": ["run_id", "number"]}],
    }
