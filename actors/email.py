"""The channel email: an event rendered, composed and handed to the SMTP server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from actors.mail.compose import compose, message_id_for
from actors.mail.render import Brand, Renderer
from actors.mail.smtp import Transport
from app.clock import utcnow

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


class EmailChannel:
    """Sends mails from the address and through the server that `settings` name."""

    def __init__(self, settings: Settings) -> None:
        self._sender = (settings.from_name, settings.from_email)
        self._renderer = Renderer(Brand(name=settings.from_name), settings.default_currency)
        self._transport = Transport(settings)

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one mail; its Message-ID is the same at every try."""
        rendered = self._renderer.render(notification.template, notification.event_data)
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
