"""POST /notification/bounces: a mail server or forwarder submits a returned mail unchanged."""

from __future__ import annotations

from flask import Response, abort, jsonify, request

from app.api.auth import requires
from app.api.requests import JSONBlueprint, refuse_card_numbers
from app.api.schemas import BounceReceipt
from app.bounces.intake import Door, take
from app.bounces.report import Bounce
from app.services import services
from app.settings import LARGER_BODIES

blueprint = JSONBlueprint("bounces", __name__, url_prefix="/notification", description="Bounces of emails")
blueprint.before_request(refuse_card_numbers)

#: Also accepted: mail in UTF-8 (RFC 6532), and the generic type that some forwarders send.
_TYPES = ("message/rfc822", "message/global", "application/octet-stream")

#: A returned mail. A browser's form shows it as text, because it is text; other types are files.
_EXAMPLE = "\n".join(
    (
        "From: MAILER-DAEMON@mail.example.com",
        "To: tickets@cinema.example",
        "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status; boundary=part",
        "",
        "--part",
        "Content-Type: text/plain",
        "",
        "The address does not exist.",
        "--part",
        "Content-Type: message/delivery-status",
        "",
        "Reporting-MTA: dns; mail.example.com",
        "",
        "Final-Recipient: rfc822; jane.doe@example.com",
        "Action: failed",
        "Status: 5.1.1",
        "Diagnostic-Code: smtp; 550 5.1.1 no such user",
        "--part--",
        "",
    )
)

_BODY = {
    "description": "The returned email, unchanged (RFC 5322), with all headers; "
    f"at most {LARGER_BODIES['/notification/bounces'] // 1024} KiB. "
    "Of the original email that it contains, the headers are enough.",
    "required": True,
    "content": {
        "message/rfc822": {"schema": {"type": "string"}, "example": _EXAMPLE},
        **{name: {"schema": {"type": "string", "format": "binary"}} for name in _TYPES[1:]},
    },
}


@blueprint.route("/bounces", methods=["POST"])
@requires("notifications:write")
@blueprint.doc(requestBody=_BODY)
@blueprint.response(200, BounceReceipt)
@blueprint.errors(400, 401, 403, 413, 415, 422, 429, 500, 503)
def report() -> Response:
    """Accept a returned email. An email that is not a bounce changes nothing.

    You can safely repeat this request: the same report changes a delivery only once. After a 503, repeat
    the request.
    """
    if request.mimetype not in _TYPES:
        abort(415)
    taken = take(request.get_data(), services().settings, Door.WEBHOOK)
    return jsonify(
        {
            "received": True,
            "outcome": taken.outcome,
            "notification_id": taken.notification_id,
            "what": taken.what,
            "bounce": _shown(taken.bounce) if taken.bounce else None,
        }
    )


def _shown(bounce: Bounce) -> dict[str, object]:
    verdict = bounce.verdict
    return {"kind": verdict.kind, "reason": verdict.reason, "status": bounce.status, "reply": bounce.reply}
