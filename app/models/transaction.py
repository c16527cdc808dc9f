"""Payments and refunds, with their history and the events that wait to be published."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, ClassVar

from mongoengine import (
    DateTimeField,
    Decimal128Field,
    DictField,
    EmbeddedDocument,
    EmbeddedDocumentListField,
    IntField,
    StringField,
)

from app.models.database import Record

ID_LENGTH = 128


class Move(EmbeddedDocument):
    """One change of state: the audit trail is the list of these."""

    at = DateTimeField(required=True)
    status = StringField(required=True)
    #: Who made the change: api, webhook, recovery, or operator.
    actor = StringField(required=True)
    gateway_id = StringField()
    #: The HTTP request in which it happened, and the event that was published for it.
    request_id = StringField()
    event_id = StringField()
    note = StringField()


class OutboxEntry(EmbeddedDocument):
    """An event that was decided together with a status, and waits to be published."""

    event_id = StringField(required=True)
    event_type = StringField(required=True)
    #: The JSON that goes on the wire, made once: every try publishes the same bytes.
    body = StringField(required=True)
    #: The trace in which it was decided.
    traceparent = StringField()
    created_at = DateTimeField(required=True)


class Refund(EmbeddedDocument):
    """Money given back, in part or whole (`REF-…`). Its id is also the gateway's idempotency key."""

    id = StringField(required=True)
    #: pending, completed or failed.
    status = StringField(required=True)
    amount = Decimal128Field(required=True)
    reason = StringField(required=True)
    gateway_id = StringField()
    error_message = StringField()
    created_at = DateTimeField(required=True)
    processed_at = DateTimeField()


class Dispute(EmbeddedDocument):
    """A charge that its cardholder's bank disputes."""

    id = StringField(required=True)
    status = StringField(required=True)
    reason = StringField()
    #: What the bank claims back, in major units of the payment's currency.
    amount = Decimal128Field()
    evidence_due_by = DateTimeField()
    #: As of when this is known.
    at = DateTimeField(required=True)


class Transaction(Record):
    """One payment (`TXN-…`). Its id is also the gateway's idempotency key.

    Only `app.payments.ledger` writes these.
    """

    id = StringField(primary_key=True)
    #: Raised by every change: a change is stored only if nobody else has changed the payment meanwhile.
    revision = IntField()
    status = StringField(required=True)
    booking_id = StringField(required=True, max_length=ID_LENGTH)
    user_id = StringField(required=True, max_length=ID_LENGTH)
    amount = Decimal128Field(required=True)
    currency = StringField(required=True, min_length=3, max_length=3)
    payment_method = StringField(required=True)

    #: What the events carry for the notifications: user_email, user_phone, user_name, locale.
    contact = DictField()
    metadata = DictField()

    #: The booking, while this payment is open or completed: unique, so that a booking is paid once.
    open_booking = StringField()

    #: The gateway's id of what pays; none where the customer chooses at the gateway.
    gateway_method = StringField()
    return_url = StringField()

    #: When the gateway was last asked to charge.
    attempted_at = DateTimeField()
    #: When to look up the outcome at the gateway; unset once it is known.
    recover_after = DateTimeField()
    #: Names the process that is looking it up until then.
    recovery_claim = StringField()
    #: The gateway's id of a charge that it made although the payment had ended unpaid; unset once refunded.
    stray_charge = StringField()

    gateway_id = StringField()
    card_brand = StringField()
    card_last_four = StringField()
    error_code = StringField()
    error_message = StringField()
    #: What can help after a failure; see `app.declines`.
    retry_advice = StringField()

    #: Every refund that was asked for. They live in the payment, so that one write can both reserve an amount
    #: and record what for.
    refunds = EmbeddedDocumentListField(Refund)
    #: Sum of the refunds that are pending or completed: never more than `amount`.
    refund_reserved = Decimal128Field(default=Decimal(0))
    #: Sum of the refunds that are completed.
    amount_refunded = Decimal128Field(default=Decimal(0))

    disputes = EmbeddedDocumentListField(Dispute)

    history = EmbeddedDocumentListField(Move)
    outbox = EmbeddedDocumentListField(OutboxEntry)
    #: When the oldest entry of the outbox was made; unset while the outbox is empty.
    outbox_since = DateTimeField()
    #: Until when a worker that found waiting events has them to itself.
    outbox_claim = DateTimeField()

    created_at = DateTimeField(required=True)
    processed_at = DateTimeField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "transaction_logs",
        "indexes": [
            {"fields": ["open_booking"], "unique": True, "sparse": True},
            {"fields": ["outbox_since"], "sparse": True},
            {"fields": ["recover_after"], "sparse": True},
            {"fields": ["booking_id", "-created_at"]},
            {"fields": ["refunds.id"], "sparse": True},
            {"fields": ["disputes.status"], "sparse": True},
            {"fields": ["gateway_id"], "sparse": True},
            {"fields": ["history.request_id"], "sparse": True},
            {"fields": ["user_id", "-created_at"]},
            {"fields": ["-created_at", "-id"]},
            {"fields": ["status", "-created_at", "-id"]},
        ],
    }
