"""POST /notification/sms/status and /notification/sms/inbound: receipts and replies, from Twilio.

Open to everyone. Requests are trusted only with a valid signature:
https://www.twilio.com/docs/usage/security.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from flask import Response, request

from app.api.failures import count_failure
from app.api.requests import JSONBlueprint
from app.channels import ChannelName
from app.clock import utcnow
from app.errors import Forbidden
from app.feedback.keywords import Action, Keyword, recognize, reply
from app.feedback.receipts import Receipt, handle_receipt
from app.services import services
from app.suppressions import SuppressionReason, make_suppressions
from app.suppressions.store import LIFTED_BY_START
from app.telemetry import metrics
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

blueprint = JSONBlueprint(
    "sms", __name__, url_prefix="/notification/sms", description="Receipts and incoming SMS from Twilio"
)

_E164 = re.compile(r"\+[1-9][0-9]{4,14}")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9]{2,64}")

#: Minimum number of digits of a number that is not a short code.
_LONG_NUMBER = 7

#: Actions that Twilio's Advanced Opt-Out reports as done and replied to.
_OPT_OUT_TYPES = {action.name: action for action in Action}

_SIGNATURE = {
    "name": "X-Twilio-Signature",
    "in": "header",
    "required": True,
    "schema": {"type": "string"},
    "example": "Np1nax6uFoY6qpfT5l9jWwJeit0=",
}


def _form(about: str, example: dict[str, str]) -> dict[str, Any]:
    fields = {name: {"type": "string", "example": value} for name, value in example.items()}
    return {
        "description": about,
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": fields}}
        },
    }


_RECEIPT = _form(
    "A status callback of Twilio: https://www.twilio.com/docs/messaging/guides/track-outbound-message-status",
    {
        "MessageSid": "SM0123456789abcdef0123456789abcdef",
        "MessageStatus": "undelivered",
        "ErrorCode": "30003",
    },
)
_INBOUND = _form(
    "An incoming SMS from Twilio: https://www.twilio.com/docs/messaging/guides/webhook-request",
    {"From": "+14155550123", "To": "+14155550100", "Body": "STOP"},
)


@blueprint.route("/status", methods=["POST"])
@blueprint.doc(parameters=[_SIGNATURE], requestBody=_RECEIPT)
@blueprint.response(204)
@blueprint.errors(403, 413, 429, 503)
def status() -> Response:
    """Accept a delivery receipt of an SMS. Repeated, late, and unknown receipts change nothing."""
    settings = services().settings
    _check_signature(settings, "status")
    receipt = _receipt()
    changed = receipt is not None and handle_receipt(receipt, settings, utcnow())
    metrics.SMS_CALLBACKS.labels("status", "new" if changed else "ignored").inc()
    return Response(status=204)


@blueprint.route("/inbound", methods=["POST"])
@blueprint.doc(parameters=[_SIGNATURE], requestBody=_INBOUND)
@blueprint.response(200, {"type": "string", "format": "xml"}, content_type="text/xml")
@blueprint.errors(403, 413, 429, 503)
def inbound() -> Response:
    """Handle an incoming SMS. STOP suppresses the number, START allows it again, HELP names the sender."""
    settings = services().settings
    _check_signature(settings, "inbound")
    number, text = request.form.get("From", ""), request.form.get("Body", "")
    keyword = _keyword(text, request.form.get("OptOutType", ""))
    if keyword is None or not _E164.fullmatch(number):
        metrics.SMS_CALLBACKS.labels("inbound", "other").inc()
        return _twiml(None)
    _act(keyword.action, number, settings)
    metrics.SMS_CALLBACKS.labels("inbound", keyword.action).inc()
    is_answered_by_twilio = keyword.is_answered_by_twilio and not _is_short_code(request.form.get("To", ""))
    if is_answered_by_twilio or "OptOutType" in request.form:
        return _twiml(None)
    return _twiml(reply(keyword, settings.from_name, settings.support_email))


def _check_signature(settings: Settings, kind: str) -> None:
    """Refuse a request that Twilio has not signed.

    Raises:
        Forbidden: the signature does not match, or SMS are not sent through Twilio.
        RateLimited: too many such requests came from its address.
    """
    if _is_signed(settings):
        return
    metrics.SMS_CALLBACKS.labels(kind, "refused").inc()
    count_failure("sms")
    raise Forbidden("Twilio's signature does not match. Check PUBLIC_URL and TWILIO_AUTH_TOKEN.")


def _is_signed(settings: Settings) -> bool:
    if settings.sms_provider != "twilio":
        return False
    from twilio.request_validator import RequestValidator  # part of an extra that may not be installed

    query = request.query_string.decode("latin-1")
    url = f"{settings.public_url}{request.path}{f'?{query}' if query else ''}"
    validator = RequestValidator(settings.twilio_auth_token.get_secret_value())
    signature = request.headers.get("X-Twilio-Signature", "")
    return bool(validator.validate(url, request.form, signature))


def _receipt() -> Receipt | None:
    message_id = request.form.get("MessageSid", "")
    if not _MESSAGE_ID.fullmatch(message_id):
        return None
    return Receipt(
        message_id,
        request.form.get("MessageStatus", ""),
        request.form.get("ErrorCode", type=int),
        request.args.get("delivery"),
        request.args.get("resend", 0, type=int),
    )


def _keyword(text: str, opt_out: str) -> Keyword | None:
    """Return the keyword of a reply. If Twilio has already acted on it, Twilio's choice counts."""
    if action := _OPT_OUT_TYPES.get(opt_out):
        return Keyword(action, "en", is_answered_by_twilio=True)
    return recognize(text)


def _is_short_code(number: str) -> bool:
    return len(number.lstrip("+")) < _LONG_NUMBER


def _act(action: Action, number: str, settings: Settings) -> None:
    suppressions = make_suppressions(settings)
    match action:
        case Action.STOP:
            reason = SuppressionReason.STOP
            suppressions.suppress(ChannelName.SMS, number, reason=reason, source="reply", now=utcnow())
        case Action.START:
            suppressions.lift(ChannelName.SMS, number, by="reply", reasons=LIFTED_BY_START)
        case Action.HELP:
            log.info("help was requested by sms")


def _twiml(message: str | None) -> Response:
    from twilio.twiml.messaging_response import MessagingResponse

    response = MessagingResponse()
    if message:
        response.message(message)
    return Response(str(response), mimetype="text/xml")
