"""POST /payment/webhook: Stripe's webhooks. Open to everyone, trusted only with a valid signature."""

from __future__ import annotations

from flask import Response, jsonify, request

from app.api.failures import count_failure
from app.api.requests import JSONBlueprint
from app.api.schemas import WebhookReceipt
from app.errors import InvalidWebhook
from app.gateway import BadWebhook
from app.payments import webhooks
from app.payments.webhooks import MongoWebhookLog
from app.services import services
from app.telemetry import metrics

blueprint = JSONBlueprint("webhook", __name__, url_prefix="/payment", description="Webhooks of Stripe")

_SIGNATURE = {
    "name": "Stripe-Signature",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "example": "t=1764613802,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd",
}
_BODY = {
    "description": "An event of Stripe: https://docs.stripe.com/api/events/object",
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object"},
            "example": {"id": "evt_1Q…", "type": "payment_intent.succeeded", "data": {"object": {}}},
        }
    },
}


@blueprint.route("/webhook", methods=["POST"])
@blueprint.doc(parameters=[_SIGNATURE], requestBody=_BODY)
@blueprint.response(200, WebhookReceipt)
@blueprint.errors(400, 413, 429, 502, 503)
def webhook() -> Response:
    """Accept a webhook from Stripe. Repeated deliveries and unknown event types change nothing."""
    settings, payments = services().settings, services().payments
    try:
        event = payments.gateway.read_webhook(request.get_data(), request.headers.get("Stripe-Signature", ""))
    except BadWebhook as error:
        metrics.WEBHOOKS.labels("", "refused").inc()
        count_failure("webhook")
        raise InvalidWebhook(f"Webhook refused: {error}.") from None
    if event.live != settings.is_gateway_live:
        raise InvalidWebhook(
            "The webhook's mode (test or live) differs from the mode of PAYMENT_GATEWAY_API_KEY. "
            "Use the same mode for both."
        )
    return jsonify({"received": True, "new": webhooks.handle(payments, event, MongoWebhookLog())})
