"""/dashboard: statistics, payments, notifications, and dead letters, as server-rendered pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api import limits
from app.api.failures import client_address
from app.dashboard import (  # noqa: F401 - they put their pages on the blueprint
    attempts,
    letters,
    lists,
    notification,
    overview,
    payment,
    refunds,
    sign_in,
    suppressions,
)
from app.dashboard.access import Access, configure_sessions, form_token
from app.dashboard.blueprint import blueprint
from app.dashboard.present import FILTERS, GLOBALS

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the dashboard on `app`."""
    configure_sessions(app, settings)
    app.extensions["dashboard"] = Access(settings)
    app.jinja_env.filters.update(FILTERS)
    app.jinja_env.globals.update(GLOBALS, form_token=form_token)
    app.register_blueprint(blueprint)
    # Someone could guess API keys here.
    limits.limit(app, "dashboard.signed_in", "10 per minute", by=client_address)
