"""The objects that all views of an application share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from app.payments.outbox import Relay
    from app.payments.service import Payments
    from app.settings import Settings

#: Key of the services in `Flask.extensions`.
EXTENSION = "movieapp"


@dataclass(frozen=True)
class Services:
    """The objects that `create_app` creates once for all views.

    Attributes:
        settings: the process's settings.
        payments: takes, refunds, and looks up payments.
        relay: publishes the outbox from a thread.
    """

    settings: Settings
    payments: Payments
    relay: Relay


def services() -> Services:
    """Return the services of the current application.

    Raises:
        RuntimeError: called outside of an application context.
    """
    found: Services = current_app.extensions[EXTENSION]
    return found
