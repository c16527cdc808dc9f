"""Generate docs/postman from the OpenAPI document: requests that run in order, with checks.

python -m devtools.postman > docs/postman/movieapp.postman_collection.json
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from devtools.openapi import openapi

_SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"


@dataclass(frozen=True)
class Step:
    """One request of the collection.

    Attributes:
        name: name shown in Postman.
        method, path: operation of the OpenAPI document.
        status: expected HTTP status.
        body: fields of the body; {{…}} is a variable of the collection.
        headers: additional headers.
        checks: lines of JavaScript, where `answer` is the response's JSON.
        values: values of the path's parameters.
    """

    name: str
    method: str
    path: str
    status: int
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


_ORDER = {"user_id": "user_1", "booking_id": "{{bookingId}}", "amount": 25.5, "payment_method": "credit_card"}
_KEY = {"Idempotency-Key": "{{bookingId}}-pay"}
_REFUND = {
    "original_transaction_id": "{{transactionId}}",
    "booking_id": "{{bookingId}}",
    "user_id": "user_1",
    "reason": "The customer canceled one seat.",
}

STEPS = (
    Step("List the payment methods", "get", "/payment/methods", 200),
    Step(
        "Pay for a booking",
        "post",
        "/payment/process",
        200,
        _ORDER | {"user_email": "jane.doe@example.com", "payment_token": "pm_card_visa"},
        _KEY,
        ('pm.collectionVariables.set("transactionId", answer.transaction_id);',),
    ),
    Step(
        "Repeat the payment request with the same idempotency key",
        "post",
        "/payment/process",
        200,
        _ORDER | {"user_email": "jane.doe@example.com", "payment_token": "pm_card_visa"},
        _KEY,
        ('pm.expect(pm.response.headers.get("Idempotency-Replayed")).to.eql("true");',),
    ),
    Step(
        "Try to pay for the same booking again (refused)",
        "post",
        "/payment/process",
        409,
        _ORDER,
        {},
        (
            'pm.expect(answer.error.details.transaction_id).to.eql(pm.collectionVariables.get("transactionId"));',
        ),
    ),
    Step(
        "Get the status of the payment",
        "get",
        "/payment/status/{transaction_id}",
        200,
        checks=('pm.expect(answer.status).to.eql("completed");',),
        values={"transaction_id": "{{transactionId}}"},
    ),
    Step(
        "List all payments for the booking",
        "get",
        "/payment/booking/{booking_id}",
        200,
        checks=("pm.expect(answer.transactions).to.have.lengthOf(1);",),
        values={"booking_id": "{{bookingId}}"},
    ),
    Step("Refund a part of the payment", "post", "/payment/refund", 200, _REFUND | {"refund_amount": 5}),
    Step("Refund the rest of the payment", "post", "/payment/refund", 200, _REFUND),
    Step(
        "Pay with a card that has insufficient funds",
        "post",
        "/payment/process",
        400,
        _ORDER | {"payment_token": "pm_card_visa_chargeDeclinedInsufficientFunds"},
        {},
        ('pm.expect(answer.error_code).to.eql("INSUFFICIENT_FUNDS");',),
    ),
    Step(
        "Pay with a card that requires 3-D Secure",
        "post",
        "/payment/process",
        202,
        _ORDER | {"payment_token": "pm_card_authenticationRequired"},
        {},
        ('pm.expect(answer.status).to.eql("requires_action");',),
    ),
    Step("Check that the API is running", "get", "/health", 200),
    Step("Check that the API is ready to take payments", "get", "/health/ready", 200),
)


def collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Postman collection of an OpenAPI document."""
    return {
        "info": {
            "name": f"{document['info']['title']} {document['info']['version']}",
            "description": (
                "Generated from the OpenAPI document. Run the requests in order. They pay for a new booking"
                " and refund the payment."
            ),
            "schema": _SCHEMA,
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{apiKey}}", "type": "string"}]},
        "variable": [
            {"key": "baseUrl", "value": "http://localhost:8003"},
            {
                "key": "apiKey",
                "value": "",
                "description": "API key from `movieapp keys create`. Not needed in development.",
            },
            {"key": "bookingId", "value": ""},
            {"key": "transactionId", "value": ""},
        ],
        "item": [_item(number, step, document) for number, step in enumerate(STEPS)],
    }


def _item(number: int, step: Step, document: Mapping[str, Any]) -> dict[str, Any]:
    operation = document["paths"][step.path][step.method]
    path = step.path.format(**step.values).strip("/")
    request: dict[str, Any] = {
        "method": step.method.upper(),
        "description": operation.get("description") or operation["summary"],
        "header": [{"key": name, "value": value} for name, value in step.headers.items()],
        "url": {"raw": f"{{{{baseUrl}}}}/{path}", "host": ["{{baseUrl}}"], "path": path.split("/")},
    }
    if step.body:
        body = json.dumps(step.body, indent=2)
        request["body"] = {"mode": "raw", "raw": body, "options": {"raw": {"language": "json"}}}
    checks = [
        f'pm.test("{step.status}", () => pm.response.to.have.status({step.status}));',
        "const answer = pm.response.json();",
        *(f'pm.test("check {place}", () => {{ {line} }});' for place, line in enumerate(step.checks, 1)),
    ]
    events = [{"listen": "test", "script": {"type": "text/javascript", "exec": checks}}]
    if number == 0:
        fresh = 'pm.collectionVariables.set("bookingId", `BOOK-${pm.variables.replaceIn("{{$guid}}")}`);'
        events.append({"listen": "prerequest", "script": {"type": "text/javascript", "exec": [fresh]}})
    return {"name": step.name, "request": request, "event": events}


if __name__ == "__main__":
    print(json.dumps(collection(openapi()), indent=2))  # noqa: T201
