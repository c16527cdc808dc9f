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
    """One change of state in the payment's history."""

    at = DateTimeField(required=True)
    status = StringField(required=True)
    #: Cause of the change: api, webhook, recovery, or operator.
    actor = StringField(required=True)
    gateway_id = StringField()
    #: The HTTP request that caused the change.
    request_id = StringField()
    #: The event that announces the change.
    event_id = StringField()
    note = StringField()


class OutboxEntry(EmbeddedDocument):
    """An event that was stored with a change of state, and waits to be published."""

    event_id = StringField(required=True)
    event_type = StringField(required=True)
    #: The JSON to publish. It is serialized once, so that every attempt publishes the same bytes.
    body = StringField(required=True)
    #: W3C trace context of the change.
    traceparent = StringField()
    created_at = DateTimeField(required=True)


class Refund(EmbeddedDocument):
    """A partial or full refund (`REF-…`). Its id is also the gateway's idempotency key."""

    id = StringField(required=True)
    #: Status of the refund: pending, completed, or failed.
    status = StringField(required=True)
    amount = Decimal128Field(required=True)
    reason = StringField(required=True)
    gateway_id = StringField()
    error_message = StringField()
    created_at = DateTimeField(required=True)
    processed_at = DateTimeField()
    #: Whether a second attempt of the same request has begun or may begin.
    resumed = BooleanField()


class Dispute(EmbeddedDocument):
    """A dispute of the charge by the cardholder's bank."""

    id = StringField(required=True)
    status = StringField(required=True)
    reason = StringField()
    #: The disputed amount, in major units of the payment's currency.
    amount = Decimal128Field()
    evidence_due_by = DateTimeField()
    #: Time at which the gateway reported this state of the dispute.
    at = DateTimeField(required=True)


class Transaction(Record):
    """One payment (`TXN-…`). Its id is also the gateway's idempotency key.

    Only `app.payments.ledger` writes this collection.
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

    #: The customer's fields that events contain for notifications: user_email, user_phone, user_name, locale.
    contact = DictField()
    metadata = DictField()

    #: Id of the booking, while this payment is open or completed. Unique, so that a booking is paid once.
    open_booking = StringField()

    #: The gateway's id of the payment method; unset if the customer chooses at the gateway.
    gateway_method = StringField()
    return_url = StringField()

    #: Time of the last charge request to the gateway.
    attempted_at = DateTimeField()
    #: When recovery looks up the outcome at the gateway; unset once the outcome is known.
    recover_after = DateTimeField()
    #: The process that is looking up the outcome.
    recovery_claim = StringField()
    #: The gateway's id of a charge that succeeded after the payment had ended unpaid; unset once refunded.
    stray_charge = StringField()
    #: Type of fraud that the card network suspects. A dispute is likely to follow.
    fraud_warning = StringField()

    gateway_id = StringField()
    card_brand = StringField()
    card_last_four = StringField()
    error_code = StringField()
    error_message = StringField()
    #: Advice for the customer after a failure; see `app.declines`.
    retry_advice = StringField()

    #: Every requested refund. Refunds are stored in the payment, so that one write reserves the amount and
    #: records the refund.
    refunds = EmbeddedDocumentListField(Refund)
    #: Sum of the pending and completed refunds; never more than `amount`.
    refund_reserved = Decimal128Field(default=Decimal(0))
    #: Sum of the completed refunds.
    amount_refunded = Decimal128Field(default=Decimal(0))

    disputes = EmbeddedDocumentListField(Dispute)

    #: Every change of state, oldest first.
    history = EmbeddedDocumentListField(Move)
    #: Events that wait to be published, oldest first.
    outbox = EmbeddedDocumentListField(OutboxEntry)
    #: When the oldest entry of the outbox was created; unset while the outbox is empty.
    outbox_since = DateTimeField()
    #: End of the time in which one process may publish the payment's events exclusively.
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
