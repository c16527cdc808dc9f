"""Payments and refunds, with their history and the events that wait to be published."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from mongoengine import (
    BooleanField,
    DateTimeField,
    Decimal128Field,
    DictField,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    StringField,
)

from app.models.database import CASE_INSENSITIVE, Record

ID_LENGTH = 128


class Move(EmbeddedDocument):
    """One change of state, an entry of the audit trail."""

    at = DateTimeField(required=True)
    status = StringField(required=True)
    #: Who made the change: api, webhook, recovery, or operator.
    actor = StringField(required=True)
    gateway_id = StringField()
    #: The HTTP request that caused it, and the event that was published for it.
    request_id = StringField()
    event_id = StringField()
    note = StringField()


class OutboxEntry(EmbeddedDocument):
    """An event that was stored with a status, and waits to be published."""

    event_id = StringField(required=True)
    event_type = StringField(required=True)
    #: The JSON to publish, serialized once so that every attempt publishes the same bytes.
    body = StringField(required=True)
    #: The trace of the change.
    traceparent = StringField()
    created_at = DateTimeField(required=True)


class Refund(EmbeddedDocument):
    """A partial or full refund (`REF-…`). Its id is also the gateway's idempotency key."""

    id = StringField(required=True)
    #: pending, completed or failed.
    status = StringField(required=True)
    amount = Decimal128Field(required=True)
    reason = StringField(required=True)
    gateway_id = StringField()
    error_message = StringField()
    created_at = DateTimeField(required=True)
    processed_at = DateTimeField()
    #: A second attempt of the same request has begun.
    resumed = BooleanField()


class Dispute(EmbeddedDocument):
    """A charge that its cardholder's bank disputes."""

    id = StringField(required=True)
    status = StringField(required=True)
    reason = StringField()
    #: The disputed amount, in major units of the payment's currency.
    amount = Decimal128Field()
    evidence_due_by = DateTimeField()
    #: Time of the gateway's information.
    at = DateTimeField(required=True)


class Transaction(Record):
    """One payment (`TXN-…`). Its id is also the gateway's idempotency key.

    Only `app.payments.ledger` writes these.
    """

    id = StringField(primary_key=True)
    #: Incremented by every change. A change is stored only if the revision is unchanged.
    revision = IntField()
    status = StringField(required=True)
    booking_id = StringField(required=True, max_length=ID_LENGTH)
    user_id = StringField(required=True, max_length=ID_LENGTH)
    amount = Decimal128Field(required=True)
    currency = StringField(required=True, min_length=3, max_length=3)
    payment_method = StringField(required=True)

    #: Fields that events contain for notifications: user_email, user_phone, user_name, locale.
    contact = DictField()
    metadata = DictField()

    #: The booking, while this payment is open or completed. Unique, so that a booking is paid once.
    open_booking = StringField()

    #: The gateway's id of the payment method; unset if the customer chooses at the gateway.
    gateway_method = StringField()
    return_url = StringField()

    #: Time of the last charge request to the gateway.
    attempted_at = DateTimeField()
    #: When to look up the outcome at the gateway; unset once it is known.
    recover_after = DateTimeField()
    #: The process that looks it up, until its claim ends.
    recovery_claim = StringField()
    #: The gateway's id of a charge that succeeded after the payment had ended unpaid; unset once refunded.
    stray_charge = StringField()
    #: The type of fraud that the card network suspects: a dispute is likely to follow.
    fraud_warning = StringField()

    gateway_id = StringField()
    card_brand = StringField()
    card_last_four = StringField()
    error_code = StringField()
    error_message = StringField()
    #: Advice after a failure; see `app.declines`.
    retry_advice = StringField()

    #: Every requested refund. They are stored in the payment, so that one write reserves the amount and
    #: records the refund.
    refunds = EmbeddedDocumentListField(Refund)
    #: Sum of the refunds that are pending or completed: never more than `amount`.
    refund_reserved = Decimal128Field(default=Decimal(0))
    #: Sum of the refunds that are completed.
    amount_refunded = Decimal128Field(default=Decimal(0))

    disputes = EmbeddedDocumentListField(Dispute)

    history = EmbeddedDocumentListField(Move)
    outbox = EmbeddedDocumentListField(OutboxEntry)
    #: When the oldest entry of the outbox was created; unset while the outbox is empty.
    outbox_since = DateTimeField()
    #: Until when one worker may publish its events exclusively.
    outbox_claim = DateTimeField()

    created_at = DateTimeField(required=True)
    processed_at = DateTimeField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "transaction_logs",
        # tests/integration/test_indexes.py has a query for each.
        "indexes": [
            {"fields": ["open_booking"], "unique": True, "sparse": True},
            {"fields": ["outbox_since"], "sparse": True},
            {"fields": ["recover_after"], "sparse": True},
            {"fields": ["booking_id", "-created_at"]},
            {"fields": ["user_id", "-created_at"]},
            {"fields": ["-created_at", "-id"]},
            {"fields": ["status", "-created_at", "-id"]},
            # Not sparse: a sparse compound index has an entry for every document with any of its fields.
            {
                "fields": ["error_code", "-created_at", "-id"],
                "name": "failures_by_error_code",
                "partialFilterExpression": {"error_code": {"$gt": ""}},
            },
            {"fields": ["gateway_id"], "sparse": True},
            {"fields": ["refunds.id"], "sparse": True},
            {"fields": ["refunds.gateway_id"], "sparse": True},
            {"fields": ["disputes.id"], "sparse": True},
            {"fields": ["disputes.status"], "sparse": True},
            {"fields": ["stray_charge"], "sparse": True},
            {"fields": ["history.request_id"], "sparse": True},
            {"fields": ["contact.user_email"], "sparse": True, "name": "exact_email"},
            {"fields": ["contact.user_email"], "sparse": True, "collation": CASE_INSENSITIVE},
            {"fields": ["contact.user_phone"], "sparse": True},
        ],
    }

    obsolete_indexes: ClassVar[tuple[str, ...]] = (
        "contact.user_email_1_created_at_-1",
        "contact.user_phone_1_created_at_-1",
        "error_code_1_created_at_-1__id_-1",
    )
