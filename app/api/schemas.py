"""Schemas of the payment API's requests and responses. The OpenAPI document is generated from them."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from app.api.examples import BOOKING_ID, TRANSACTION_ID
from app.api.requests import Amount, ClientAddress, Digits, EmailAddress, Id, Pattern, Text, VisibleText
from app.bounces.intake import Outcome
from app.bounces.report import BounceKind, OtherMail, Reason
from app.gateway import CardDetails
from app.money import CURRENCIES
from app.payments import states
from app.payments.orders import CancelOrder, PaymentOrder, RefundOrder
from app.settings import PAYMENT_METHODS

_E164 = Pattern(r"^\+[1-9][0-9]{6,14}$", error="Must be an E.164 number, for example +14155550123.")
_LOCALE = Pattern(r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}$", error="Must be a locale, for example en-US.")
_TOKEN = Pattern(r"^pm_[A-Za-z0-9_]+$", error="Must be the id of a Stripe PaymentMethod (pm_…).")
_RETURN_URL = Pattern(r"^[A-Za-z][A-Za-z0-9+.-]*://[^\s<>]+$", error="Must be a URL.")
_METADATA_KEY = Pattern(r"^[A-Za-z0-9_-]+$", error="Must be letters, digits, _ or -.")
_REFUND_STATUSES = tuple(states.RefundStatus)
_STATUSES = tuple(states.PaymentStatus)

#: Fields that events contain for notifications.
_CONTACT = ("user_email", "user_phone", "user_name", "locale")


def one_of(*schemas: type[Schema]) -> dict[str, Any]:
    """Return the OpenAPI schema of a response that has one of several forms."""
    return {"oneOf": [{"$ref": f"#/components/schemas/{schema.__name__}"} for schema in schemas]}


class CardSchema(Schema):
    """A raw card. In live mode send a payment_token instead."""

    card_number = fields.String(
        required=True,
        load_only=True,
        validate=validate.Length(1, 32),
        metadata={"example": "4242424242424242"},
    )
    expiry_month = Digits(required=True, load_only=True, metadata={"type": "string", "example": "12"})
    expiry_year = Digits(required=True, load_only=True, metadata={"type": "string", "example": "2030"})
    cvv = fields.String(
        required=True, load_only=True, validate=validate.Length(1, 8), metadata={"example": "123"}
    )
    cardholder_name = Text(128, metadata={"example": "Jane Doe"})

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> CardDetails:
        year = int(data["expiry_year"])
        return CardDetails(
            number=re.sub(r"[ -]", "", data["card_number"]),
            cvv=data["cvv"],
            month=int(data["expiry_month"]),
            year=year + 2000 if year < 100 else year,
        )


class PaypalSchema(Schema):
    """Details of a PayPal payment."""

    email = fields.Email(validate=validate.Length(max=254), metadata={"example": "jane.doe@example.com"})
    payment_id = Id(metadata={"example": "PAYID-…"})


#: An amount in OpenAPI 3.0.
_ABOVE_ZERO = {"type": "number", "minimum": 0, "exclusiveMinimum": True}

#: A payment that works unchanged, for example with "Execute" in Swagger UI.
PAYMENT_EXAMPLE = {
    "user_id": "user_123",
    "booking_id": BOOKING_ID,
    "amount": 25.5,
    "payment_method": "credit_card",
    "user_email": "jane.doe@example.com",
    "payment_token": "pm_card_visa",
}


class PaymentRequest(Schema):
    """A payment to take."""

    user_id = Id(required=True, metadata={"example": "user_123"})
    booking_id = Id(required=True, metadata={"example": BOOKING_ID})
    amount = Amount(
        required=True,
        metadata=_ABOVE_ZERO | {"description": "Amount in major units; must be above 0.", "example": 25.5},
    )
    payment_method = fields.String(required=True, validate=validate.OneOf(PAYMENT_METHODS))
    currency = fields.String(
        validate=validate.OneOf(sorted(CURRENCIES)),
        metadata={"description": "An ISO 4217 code.", "example": "USD"},
    )
    user_email = EmailAddress(metadata={"example": "jane.doe@example.com"})
    user_phone = fields.String(validate=_E164, metadata={"example": "+14155550123"})
    user_name = Text(128, metadata={"example": "Jane Doe"})
    locale = fields.String(validate=_LOCALE, metadata={"example": "en-US"})
    payment_token = fields.String(
        validate=[validate.Length(max=255), _TOKEN],
        metadata={
            "description": "Id of a Stripe PaymentMethod. Use it in production instead of card_details.",
            "example": "pm_card_visa",
        },
    )
    card_details = fields.Nested(CardSchema)
    paypal_details = fields.Nested(PaypalSchema)
    return_url = Text(
        2048,
        validate=[_RETURN_URL],
        metadata={
            "format": "uri",
            "description": "URL to which the customer returns after a redirect: https, or a scheme in "
            "RETURN_URL_SCHEMES.",
            "example": "https://shop.example.com/paid",
        },
    )
    metadata = fields.Dict(
        keys=Text(40, validate=[_METADATA_KEY]),
        values=Text(500),
        validate=validate.Length(max=20),
        metadata={"description": "Stored with the payment, also at Stripe.", "example": {"channel": "web"}},
    )

    customer_ip = ClientAddress(
        metadata={
            "type": "string",
            "description": "The customer's IP address, for limits on card testing. A port is ignored.",
            "example": "203.0.113.8",
        }
    )
    replace_open = fields.Boolean(
        metadata={
            "description": "Whether to first cancel a payment of the same booking and user that waits "
            "for the customer.",
            "example": False,
        }
    )

    @validates_schema
    def one_way_to_pay(self, data: dict[str, Any], **_: Any) -> None:
        if "payment_token" in data and "card_details" in data:
            raise ValidationError("Send either payment_token or card_details, not both.", "payment_token")

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> PaymentOrder:
        contact: dict[str, str] = {name: data[name] for name in _CONTACT if name in data}
        return PaymentOrder(
            user_id=data["user_id"],
            booking_id=data["booking_id"],
            amount=data["amount"],
            currency=data.get("currency"),
            payment_method=data["payment_method"],
            payment_token=data.get("payment_token"),
            card=data.get("card_details"),
            return_url=data.get("return_url"),
            contact=contact,
            metadata=data.get("metadata", {}),
            customer_ip=data.get("customer_ip"),
            replace_open=data.get("replace_open", False),
        )


class RefundRequest(Schema):
    """A refund to make."""

    original_transaction_id = Id(required=True, metadata={"example": TRANSACTION_ID})
    booking_id = Id(required=True, metadata={"example": BOOKING_ID})
    user_id = Id(required=True, metadata={"example": "user_123"})
    reason = VisibleText(500, required=True, metadata={"example": "Customer cancellation"})
    refund_amount = Amount(
        metadata=_ABOVE_ZERO
        | {"description": "Amount in major units. Default: the rest of the payment.", "example": 10}
    )

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> RefundOrder:
        amount = data.pop("refund_amount", None)
        return RefundOrder(**data, amount=amount)


class CancelRequest(Schema):
    """A payment to cancel."""

    transaction_id = Id(required=True, metadata={"example": TRANSACTION_ID})
    booking_id = Id(required=True, metadata={"example": BOOKING_ID})
    user_id = Id(required=True, metadata={"example": "user_123"})
    reason = Text(500, metadata={"example": "The customer chose another card"})

    @post_load
    def make(self, data: dict[str, Any], **_: Any) -> CancelOrder:
        return CancelOrder(**data)


class _Result(Schema):
    transaction_id = fields.String(required=True, metadata={"example": TRANSACTION_ID})
    booking_id = fields.String(required=True, metadata={"example": BOOKING_ID})
    amount = fields.Float(required=True, metadata={"example": 25.5})
    payment_method = fields.String(required=True, metadata={"example": "credit_card"})


class PaymentSuccess(_Result):
    """A completed payment."""

    status = fields.String(required=True, validate=validate.Equal("success"))
    currency = fields.String(required=True, metadata={"example": "USD"})
    card_brand = fields.String(metadata={"example": "visa"})
    card_last_four = fields.String(metadata={"example": "4242"})
    processed_at = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:02.417Z"})
    message = fields.String(required=True, metadata={"example": "Payment processed successfully."})


class PaymentOpen(_Result):
    """A payment that waits for its customer, or whose outcome is unknown."""

    status = fields.String(
        required=True,
        validate=validate.OneOf(sorted(states.UNSETTLED)),
    )
    currency = fields.String(required=True, metadata={"example": "USD"})
    client_secret = fields.String(
        metadata={
            "example": "pi_3Q…_secret_…",
            "description": "Secret with which Stripe.js confirms the payment.",
        }
    )
    redirect_url = fields.String(
        metadata={
            "example": "https://www.paypal.com/checkoutnow?token=…",
            "description": "URL at which the customer confirms the payment.",
        }
    )
    message = fields.String(required=True, metadata={"example": "The customer has to confirm this payment."})


class CancelResult(_Result):
    """A canceled payment. Nothing was charged."""

    status = fields.String(required=True, validate=validate.Equal("canceled"))
    currency = fields.String(required=True, metadata={"example": "USD"})
    processed_at = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:02.417Z"})
    message = fields.String(
        required=True, metadata={"example": "The payment was canceled. Nothing was charged."}
    )


class PaymentDeclined(_Result):
    """A declined or canceled payment. Nothing was charged."""

    status = fields.String(required=True, validate=validate.OneOf(sorted(states.UNPAID)))
    error_code = fields.String(metadata={"example": "INSUFFICIENT_FUNDS"})
    error_message = fields.String(
        metadata={
            "example": "Your card has insufficient funds. Please use another card.",
            "description": "Message to show to the customer.",
        },
    )
    retry_possible = fields.Boolean(required=True, metadata={"example": True})
    processed_at = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:02.417Z"})


class DisputeStatus(Schema):
    """A dispute as Stripe last reported it."""

    dispute_id = fields.String(required=True, metadata={"example": "du_1Q…"})
    status = fields.String(required=True, metadata={"example": "needs_response"})
    amount = fields.Float(
        required=True,
        allow_none=True,
        metadata={"example": 25.5, "description": "The disputed amount."},
    )
    reason = fields.String(required=True, allow_none=True, metadata={"example": "fraudulent"})
    evidence_due_by = fields.DateTime(
        required=True, allow_none=True, metadata={"example": "2026-12-15T23:59:59.000Z"}
    )


class RefundStatus(Schema):
    """The current state of a refund."""

    refund_transaction_id = fields.String(required=True, metadata={"example": "REF-91d2…"})
    status = fields.String(required=True, validate=validate.OneOf(_REFUND_STATUSES))
    refund_amount = fields.Float(required=True, metadata={"example": 10})
    reason = fields.String(required=True, metadata={"example": "Customer cancellation"})
    created_at = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:01.982Z"})
    processed_at = fields.DateTime(
        required=True, allow_none=True, metadata={"example": "2026-12-01T18:30:02.417Z"}
    )


class PaymentStatusBody(_Result):
    """The current state of a payment."""

    status = fields.String(required=True, validate=validate.OneOf(_STATUSES))
    currency = fields.String(required=True, metadata={"example": "USD"})
    amount_refunded = fields.Float(required=True, metadata={"example": 10})
    refunds = fields.List(fields.Nested(RefundStatus), required=True)
    disputed = fields.Boolean(metadata={"example": True, "description": "Whether a dispute is open or lost."})
    disputes = fields.List(
        fields.Nested(DisputeStatus), metadata={"description": "Present if the payment has disputes."}
    )
    client_secret = fields.String(
        metadata={
            "example": "pi_3Q…_secret_…",
            "description": "Present while the payment waits for the customer, for API keys with "
            "payments:write.",
        }
    )
    redirect_url = fields.String(metadata={"example": "https://www.paypal.com/checkoutnow?token=…"})
    error_code = fields.String(metadata={"example": "INSUFFICIENT_FUNDS"})
    error_message = fields.String(
        metadata={"example": "Your card has insufficient funds. Please use another card."}
    )
    original_transaction_id = fields.String(
        metadata={"example": TRANSACTION_ID, "description": "In a refund: the id of the payment."}
    )
    created_at = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:01.982Z"})
    processed_at = fields.DateTime(
        required=True, allow_none=True, metadata={"example": "2026-12-01T18:30:02.417Z"}
    )


class RefundResult(Schema):
    """A refund: completed (200), or with an unknown outcome (202)."""

    status = fields.String(required=True, validate=validate.OneOf(("success", states.RefundStatus.PENDING)))
    refund_transaction_id = fields.String(required=True, metadata={"example": "REF-91d2…"})
    original_transaction_id = fields.String(required=True, metadata={"example": TRANSACTION_ID})
    booking_id = fields.String(required=True, metadata={"example": BOOKING_ID})
    refund_amount = fields.Float(required=True, metadata={"example": 10})
    currency = fields.String(required=True, metadata={"example": "USD"})
    processed_at = fields.DateTime(metadata={"example": "2026-12-01T18:30:02.417Z"})
    message = fields.String(required=True, metadata={"example": "Refund processed successfully."})


class BookingPayments(Schema):
    """All payments of a booking, newest first."""

    booking_id = fields.String(required=True, metadata={"example": BOOKING_ID})
    transactions = fields.List(fields.Nested(PaymentStatusBody), required=True)


class PaymentMethod(Schema):
    """A payment method."""

    id = fields.String(required=True, validate=validate.OneOf(PAYMENT_METHODS))
    name = fields.String(required=True, metadata={"example": "Credit card"})
    description = fields.String(
        required=True, metadata={"example": "Visa, Mastercard, American Express and others"}
    )
    enabled = fields.Boolean(required=True, metadata={"example": True})


class PaymentMethods(Schema):
    """All payment methods."""

    payment_methods = fields.List(fields.Nested(PaymentMethod), required=True)


class WebhookReceipt(Schema):
    """Confirmation of a webhook delivery."""

    received = fields.Boolean(required=True, metadata={"example": True})
    new = fields.Boolean(
        required=True,
        metadata={"example": True, "description": "Whether this delivery was not a repeated one."},
    )


class BounceFacts(Schema):
    """What a returned mail reports."""

    kind = fields.String(required=True, validate=validate.OneOf(tuple(BounceKind)))
    reason = fields.String(required=True, validate=validate.OneOf(tuple(Reason)))
    status = fields.String(
        required=True,
        allow_none=True,
        metadata={"example": "5.1.1", "description": "The mail server's enhanced status code (RFC 3463)."},
    )
    reply = fields.String(
        required=True,
        metadata={"example": "550 5.1.1 User unknown", "description": "The mail server's reply."},
    )


class BounceReceipt(Schema):
    """Confirmation of a returned mail."""

    received = fields.Boolean(required=True, metadata={"example": True})
    outcome = fields.String(
        required=True,
        validate=validate.OneOf(tuple(Outcome)),
        metadata={"description": "Result of the report. Only `recorded` has changed a notification."},
    )
    notification_id = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "example": "6564f1c2a1b2c3d4e5f60718",
            "description": "Id of the notification that bounced.",
        },
    )
    what = fields.String(
        required=True,
        allow_none=True,
        validate=validate.OneOf(tuple(OtherMail)),
        metadata={"description": "Kind of the email, if it is not a bounce."},
    )
    bounce = fields.Nested(BounceFacts, required=True, allow_none=True)


class Check(Schema):
    """The state of one dependency."""

    ok = fields.Boolean(required=True, metadata={"example": True})
    detail = fields.String(required=True, metadata={"example": "answers"})


class Readiness(Schema):
    """Whether payments can be taken safely, and each dependency."""

    status = fields.String(required=True, validate=validate.OneOf(("ready", "not ready")))
    checks = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(Check),
        required=True,
        metadata={"example": {"mongodb": {"ok": True, "detail": "answers"}}},
    )


class Health(Schema):
    """Liveness of the process."""

    status = fields.String(required=True, validate=validate.Equal("healthy"))
    service = fields.String(required=True, metadata={"example": "payment-service"})
    timestamp = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:01.982Z"})
