"""The channel email: an event rendered, composed and handed to the SMTP server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actors.channels.email.compose import compose, message_id_for
from actors.channels.email.render import Brand, Renderer
from actors.channels.email.smtp import Transport
from app.clock import utcnow
from app.telemetry import metrics, tracing

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


#: For rendering, and for MongoDB to answer before and after.
_BESIDES = timedelta(seconds=20)


def brand_of(settings: Settings) -> Brand:
    """The brand that `settings` describe."""
    return Brand(
        name=settings.from_name,
        address=settings.from_email,
        support_email=settings.support_email,
        color=settings.brand_color,
        logo_url=settings.brand_logo_url,
        postal_address=settings.postal_address,
    )


class EmailChannel:
    """Sends mails from the address and through the server that `settings` name."""

    def __init__(self, settings: Settings) -> None:
        self._sender = (settings.from_name, settings.from_email)
        self._renderer = Renderer(brand_of(settings), settings.default_currency, settings.default_timezone)
        self._transport = Transport(settings)
        #: Longer than sending one mail can take, by the timeouts that the settings name.
        self.lease = self._transport.longest + _BESIDES

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one mail; its Message-ID is the same at every try."""
        template = notification.template
        with metrics.RENDER.labels(template).time(), tracing.span("render", {"movieapp.template": template}):
            rendered = self._renderer.render(template, notification.event_data)
        message_id = message_id_for(notification.event_id, notification.notification_type, self._sender[1])
        self._transport.send(
            compose(
                rendered,
                recipient=notification.recipient,
                sender=self._sender,
                message_id=message_id,
                date=utcnow(),
            )
        )
        return {"subject": rendered.subject, "message_id": message_id}

    def close(self) -> None:
        """Say goodbye to the SMTP server."""
        self._transport.close()
