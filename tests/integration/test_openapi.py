"""The OpenAPI document is correct: a property-based client finds no undocumented response and no crash."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from app import create_app
from app.keys.scopes import SCOPES
from app.keys.store import create_key
from app.payments.outbox import Relay

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

TRUE = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]


@pytest.fixture
def app(
    stored_settings: Settings, stripe_simulator: StripeSimulator, monkeypatch: pytest.MonkeyPatch
) -> Flask:
    """The app without its relay.

    PyMongo and Dramatiq draw from Python's global random numbers in the relay's thread, and Hypothesis takes
    any use of them while it draws an example for a mistake of the strategy. Events stay in their outboxes.
    """
    monkeypatch.setattr(Relay, "submit", lambda *_: None)
    secret = {"stripe_webhook_secret": type(stored_settings.payment_gateway_api_key)("whsec_x")}
    changes = {"auth_required": True} | secret | stripe_simulator.settings
    return create_app(stored_settings.model_copy(update=changes))


def test_every_response_is_documented(app: Flask) -> None:
    _, token = create_key("schemathesis", SCOPES)
    document = schemathesis.openapi.from_wsgi("/docs/openapi.json", app)
    tested = []
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=TRUE)

        ask()
        tested.append(operation.label)
    assert len(tested) == 12


def test_the_document_is_valid(app: Flask) -> None:
    validate(app.test_client().get("/docs/openapi.json").json or {})


def test_every_operation_has_examples(app: Flask) -> None:
    document = app.test_client().get("/docs/openapi.json").json
    schemas = document["components"]["schemas"]
    unexplained = [
        f"{schema}.{name}"
        for schema, body in schemas.items()
        for name, field in body.get("properties", {}).items()
        if not ({"example", "enum", "$ref"} & set(field) or "$ref" in str(field))
        and not schema.startswith("Pagination")  # defined by flask-smorest and unused here
    ]
    assert not unexplained
    for path, item in document["paths"].items():
        for method in {"get", "post"} & set(item):
            assert item[method]["summary"], f"{method} {path}"
            for status, response in item[method]["responses"].items():
                if status.isdigit() and int(status) >= 400 and path != "/health/ready":
                    (content,) = response["content"].values()
                    assert content["examples"], f"{method} {path} {status}"
