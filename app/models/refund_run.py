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
    #: In major units.
    amount = Decimal128Field(required=True)


class RefundRun(Record):
    """A bulk refund (`RUN-…`): a plan, confirmed or not.

    Only `app.payments.bulk.store` writes these.
    """

    id = StringField(primary_key=True)
    #: planned, running, stopped, or finished.
    status = StringField(required=True)
    #: Source of the list: a file name or a showtime.
    source = StringField(required=True)
    #: SHA-256 of the list, to find its unfinished run.
    digest = StringField(required=True)
    #: The reason of every refund; customers read it.
    reason = StringField(required=True)
    #: Maximum number of refunds a second.
    rate = FloatField(required=True)
    #: The operator who planned it.
    operator = StringField(required=True)
    line_count = IntField(required=True)
    totals = EmbeddedDocumentListField(RunTotal)

    created_at = DateTimeField(required=True)
    confirmed_at = DateTimeField()
    finished_at = DateTimeField()

    #: `executing` while a process carries it out. Unique, so that only one run is carried out at a time.
    slot = StringField()
    #: The process that carries it out, until its lease ends.
    lease_owner = StringField()
    lease_until = DateTimeField()
    #: Set after repeated refusals by the gateway: workers do not continue before this time.
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
    """One line of the list of a bulk refund. The refund itself is in the payment.

    Only `app.payments.bulk.store` writes these.
    """

    #: The run's id and the line's number.
    id = StringField(primary_key=True)
    run_id = StringField(required=True)
    number = IntField(required=True)
    #: From the list, or the payment that was found for the booking.
    transaction_id = StringField()
    booking_id = StringField()
    #: Planned refund, in major units; unset if nothing is refunded.
    amount = Decimal128Field()
    currency = StringField()
    #: Verdict of the plan: refund, rest, or why nothing is refunded.
    verdict = StringField(required=True)
    #: open, closed, or excluded (nothing to refund).
    status = StringField(required=True)
    #: How often the outcome of its refund stayed unknown.
    looks = IntField()
    #: Why it was closed without a refund, if the payment does not record the reason.
    note = StringField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "refund_run_lines",
        "indexes": [{"fields": ["run_id", "status", "looks", "number"]}, {"fields": ["run_id", "number"]}],
    }
