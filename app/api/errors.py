"""Error responses: one envelope, and one table from error codes to HTTP statuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flask import Flask, Response, current_app, g
from flask_smorest import Api
from marshmallow import Schema, fields
from werkzeug.exceptions import HTTPException, MethodNotAllowed, RequestEntityTooLarge

from app.api.examples import TRANSACTION_ID
from app.clock import iso, utcnow
from app.errors import Problem
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue

log = get_logger(__name__)

#: Error code → HTTP status.
STATUS: dict[str, int] = {
    "INVALID_CARD": 400,
    "CARD_EXPIRED": 400,
    "INVALID_AMOUNT": 400,
    "REFUND_NOT_ALLOWED": 400,
    "INVALID_SIGNATURE": 400,
    "MALFORMED_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "TRANSACTION_NOT_FOUND": 404,
    "NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "DUPLICATE_TRANSACTION": 409,
    "IDEMPOTENCY_CONFLICT": 409,
    "PAYMENT_NOT_CANCELABLE": 409,
    "PAYLOAD_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "VALIDATION_ERROR": 422,
    "IDEMPOTENCY_KEY_REUSED": 422,
    "RATE_LIMITED": 429,
    "TOO_MANY_ATTEMPTS": 429,
    "INTERNAL_ERROR": 500,
    "PAYMENT_GATEWAY_ERROR": 502,
    "SERVICE_UNAVAILABLE": 503,
}

#: Errors that Flask, webargs, and the limiter raise: status → code and message.
_HTTP_ERRORS: dict[int, tuple[str, str]] = {
    404: ("NOT_FOUND", "No resource has this URL."),
    405: (
        "METHOD_NOT_ALLOWED",
        "This URL does not support the HTTP method. Use a method listed in the Allow header.",
    ),
    413: ("PAYLOAD_TOO_LARGE", "The request body is too large."),
    415: ("UNSUPPORTED_MEDIA_TYPE", "Send the body as application/json."),
    422: ("VALIDATION_ERROR", "The request is invalid. See details.fields."),
    429: ("RATE_LIMITED", "Too many requests. Please wait and try again."),
}
_MALFORMED = ("VALIDATION_ERROR", "The request is malformed. Check the body and the headers.")
_INTERNAL = ("INTERNAL_ERROR", "An internal error occurred. The service has logged the error.")

#: Messages of domain errors, for OpenAPI's examples.
_EXAMPLES = {
    "INVALID_CARD": "The card number is incorrect. Please check it.",
    "CARD_EXPIRED": "The card has expired. Please use another card.",
    "INVALID_AMOUNT": "amount must have at most 2 decimals in USD.",
    "REFUND_NOT_ALLOWED": "The refund exceeds the amount left to refund, 5.00 USD.",
    "INVALID_SIGNATURE": "Webhook refused: signature mismatch, or the timestamp is outside the tolerance.",
    "MALFORMED_REQUEST": "The chunked request body is malformed or incomplete. Send the complete body.",
    "UNAUTHORIZED": "The API key is missing or invalid. Send a valid key: Authorization: Bearer mk_…",
    "FORBIDDEN": "This API key lacks the scope payments:write. Use a key with this scope.",
    "TRANSACTION_NOT_FOUND": "No transaction has this id.",
    "DUPLICATE_TRANSACTION": "This booking already has a payment.",
    "PAYMENT_NOT_CANCELABLE": "The payment can't be canceled: its status is completed.",
    "IDEMPOTENCY_CONFLICT": "The first request with this key is still running. Retry soon.",
    "IDEMPOTENCY_KEY_REUSED": "This Idempotency-Key was used for another request. Use a new key.",
    "TOO_MANY_ATTEMPTS": "Too many payment attempts. Please try again later.",
    "PAYMENT_GATEWAY_ERROR": "The payment could not be made. Nothing was charged; please try again soon.",
    "SERVICE_UNAVAILABLE": (
        "The database is unavailable, so the request was not processed. Please try again soon."
    ),
}

#: Error code → the Retry-After header, in seconds.
RETRY_AFTER = {"IDEMPOTENCY_CONFLICT": 1, "SERVICE_UNAVAILABLE": 5}


class ErrorBody(Schema):
    """An error: a code for programs and a message for people."""

    code = fields.String(
        required=True,
        metadata={"enum": sorted(STATUS), "description": "Stable error code. Branch on this code."},
    )
    message = fields.String(
        required=True,
        metadata={
            "description": "What is wrong, and what to do.",
            "example": "This booking already has a payment.",
        },
    )
    details = fields.Dict(
        required=True,
        metadata={
            "description": "Further information. After a 422: the refused fields, and why.",
            "example": {"transaction_id": TRANSACTION_ID},
        },
    )


class ErrorEnvelope(Schema):
    """The body of every error response other than a decline."""

    error = fields.Nested(ErrorBody, required=True)
    timestamp = fields.DateTime(required=True, metadata={"example": "2026-12-01T18:30:01.982Z"})
    request_id = fields.String(
        required=True,
        metadata={
            "description": "Id of the request, also in the header X-Request-ID and in the logs.",
            "example": "req_7a31…",
        },
    )


def error_examples(status: int) -> dict[str, Any]:
    """Return OpenAPI examples: an envelope for each code that has `status`."""
    words = dict((*_HTTP_ERRORS.values(), _INTERNAL))
    return {
        code: {
            "value": {
                "error": {"code": code, "message": words.get(code, _EXAMPLES.get(code)), "details": {}},
                "timestamp": "2026-12-01T18:30:01.982Z",
                "request_id": "req_7a31…",
            }
        }
        for code, answered in STATUS.items()
        if answered == status
    }


def error_response(code: str, message: str, details: dict[str, Any] | None = None) -> Response:
    """Return an error response with the HTTP status of `code`."""
    body = {
        "error": {"code": code, "message": message, "details": details or {}},
        "timestamp": iso(utcnow()),
        "request_id": g.get("request_id", ""),
    }
    response = current_app.response_class(
        current_app.json.dumps(body), status=STATUS[code], mimetype="application/json"
    )
    if code == "UNAUTHORIZED":
        response.headers["WWW-Authenticate"] = "Bearer"
    retry_after = RETRY_AFTER.get(code) or (details or {}).get("retry_after")
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response


def _on_problem(problem: Problem) -> Response:
    return error_response(problem.code, problem.message, problem.details)


def _on_http_error(error: HTTPException) -> ResponseReturnValue:
    if error.response is not None:  # a response that was made elsewhere, such as a redirect
        return error.response
    status = error.code or 500
    code, message = _HTTP_ERRORS.get(status, _MALFORMED if status < 500 else _INTERNAL)
    data: dict[str, Any] = getattr(error, "data", {})
    messages = data.get("messages", {})
    details = messages.get("json", messages) if isinstance(messages, dict) else {}
    response = error_response(code, message, {"fields": details} if details else {})
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        response.headers["Allow"] = ", ".join(sorted(error.valid_methods))  # RFC 9110, 15.5.6
    if isinstance(error, RequestEntityTooLarge):
        # The rest of the body was not read, so the next bytes on this connection are not a request.
        response.headers["Connection"] = "close"
    return response


def _on_crash(error: Exception) -> Response:
    log.error("unhandled exception", exc_info=error)
    return error_response(*_INTERNAL)


class MovieApi(Api):  # type: ignore[misc] # flask-smorest ships no types
    """flask-smorest's API, with this project's error envelope."""

    ERROR_SCHEMA = ErrorEnvelope

    def handle_http_exception(self, error: HTTPException) -> ResponseReturnValue:
        return _on_http_error(error)


def init_app(app: Flask) -> None:
    """Turn every exception into an error response."""
    app.register_error_handler(Problem, _on_problem)
    app.register_error_handler(Exception, _on_crash)
