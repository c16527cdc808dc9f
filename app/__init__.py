"""Application factory of the payment API, and the domain code that every process shares."""

from __future__ import annotations

import atexit
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def create_app(settings: Settings | None = None) -> Flask:
    """Create the payment API.

    Opens no connection, so it can run before a fork and while every server is down.

    Args:
        settings: read from the environment and `.env` if None.

    Raises:
        SettingsError: a setting is wrong.
    """
    # Imported here, so that a process that needs only app.models does not load Flask and Stripe.
    from flask import Flask

    from app import api, dashboard, models
    from app.messaging.publisher import make_publisher
    from app.payments.ledger.mongo import MongoLedger
    from app.payments.outbox import Relay
    from app.payments.service import make_payments
    from app.services import EXTENSION, Services
    from app.settings import load_settings
    from app.telemetry import logs, tracing

    settings = settings or load_settings()
    settings.require_api_secrets()
    logs.configure("payment-service", settings.log_level)
    tracing.configure("payment-service", settings)
    models.connect(settings)
    ledger = MongoLedger(batched=True)
    relay = Relay(ledger, lambda: make_publisher(settings))
    atexit.register(relay.close)

    app = Flask(__name__, static_folder=None)
    payments = make_payments(settings, relay.submit, ledger)
    app.extensions[EXTENSION] = Services(settings, payments, relay)
    api.init_app(app, settings)
    dashboard.init_app(app, settings)
    return app
