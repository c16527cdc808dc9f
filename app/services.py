"""The objects that every view of one application shares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app

if TYPE_CHECKING:
    from app.payments.outbox import Relay
    from app.payments.service import Payments
    from app.settings import Settings

#: Where the application keeps them, in `Flask.extensions`.
EXTENSION = "movieapp"


@dataclass(frozen=True)
class Services:
    """What `create_app` makes once and the views use.

    Attributes:
        settings: of this process.
        payments: takes, refunds, and looks up payments.
        relay: publishes the events of the outbox from a thread.
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
