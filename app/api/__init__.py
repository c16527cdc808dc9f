"""The HTTP layer: parsing, rate limits, idempotency, responses, errors, and documentation."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from flask_swagger_ui import get_swaggerui_blueprint

from app.api import (
    auth,
    bounces,
    context,
    errors,
    health,
    limits,
    metrics,
    payment_page,
    payments,
    readiness,
    sms,
    transport,
    webhook,
)
from app.api.errors import MovieApi
from app.api.json import ExactJSONProvider
from app.api.schemas import PaymentDeclined

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings

_OPENAPI = {
    "API_TITLE": "movieapp payments",
    "API_VERSION": version("movieapp"),
    "OPENAPI_VERSION": "3.0.3",
    "OPENAPI_URL_PREFIX": "/docs",
    "OPENAPI_JSON_PATH": "openapi.json",
}


def init_app(app: Flask, settings: Settings) -> None:
    """Register the whole HTTP interface on `app`."""
    app.json = ExactJSONProvider(app)
    # No view or hook is a coroutine; Flask would check each of them in every request.
    app.ensure_sync = lambda func: func  # type: ignore[method-assign]
    app.url_map.strict_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.config.update(_OPENAPI)
    context.init_app(app)
    errors.init_app(app)
    transport.init_app(app, settings)
    auth.init_app(app, settings)
    limits.init_app(app, settings)
    api = MovieApi(app)
    api.spec.components.security_scheme("apiKey", auth.SCHEME)
    api.spec.components.schema("PaymentDeclined", schema=PaymentDeclined)  # referenced only in a oneOf
    for blueprint in (
        payments.blueprint,
        webhook.blueprint,
        sms.blueprint,
        bounces.blueprint,
        health.blueprint,
        readiness.blueprint,
    ):
        api.register_blueprint(blueprint)
    if not settings.auth_required:
        auth.document_optional_keys(api.spec)
    # Applies to the whole object, which marshmallow can't express.
    api.spec.components.schemas["PaymentRequest"]["not"] = {"required": ["payment_token", "card_details"]}
    for moves_money in ("payments.process", "payments.refund", "payments.cancel"):
        limits.limit(app, moves_money, settings.ratelimit_payments)
    for reads in ("payments.status", "payments.booking", "payments.methods", "api-docs.openapi_json"):
        limits.limit(app, reads, settings.ratelimit_reads)
    limits.limit(app, "bounces.report", settings.ratelimit_reads)
    limits.limit(app, "readiness.ready", settings.ratelimit_reads, unless=transport.is_direct)
    swagger = get_swaggerui_blueprint(
        "/docs",
        "/docs/openapi.json",
        config={"app_name": "movieapp API", "oauth2RedirectUrl": "/docs/oauth2-redirect.html"},
    )
    app.register_blueprint(swagger)
    app.register_blueprint(payment_page.blueprint)
    for shown in ("swagger_ui.show", "payment_page.result"):
        limits.limit(app, shown, settings.ratelimit_reads)
    metrics.init_app(app, settings)
