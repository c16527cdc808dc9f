"""Select the gateway. Only this module imports a gateway's package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.gateway.stripe.dashboard import dashboard_url
from app.gateway.stripe.events import HANDLED_EVENTS

if TYPE_CHECKING:
    from app.gateway.gateway import Gateway
    from app.settings import Settings

__all__ = ["HANDLED_EVENTS", "dashboard_url", "make_gateway"]


def make_gateway(settings: Settings) -> Gateway:
    """Return the gateway that `settings` configure."""
    # Imported here, so that a process that needs only the types does not load the gateway's SDK.
    from app.gateway.stripe.gateway import StripeGateway

    return StripeGateway(settings)
