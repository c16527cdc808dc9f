"""The email channel: render an event, compose the mail, and submit it to the SMTP server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actors.channels.email.circuit import QUICK_SECONDS
from actors.channels.email.compose import compose, message_id_for
from actors.channels.email.render import Brand, Renderer
from actors.channels.email.smtp import Relays
from app.channels import ChannelName
from app.clock import utcnow
from app.telemetry import metrics, tracing

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


#: For rendering, and for MongoDB to answer before and after.
_LEASE_MARGIN = timedelta(seconds=20)


def brand_of(settings: Settings) -> Brand:
    """Return the brand that `settings` describe."""
    return Brand(
        name=settings.from_name,
        address=settings.from_email,
        support_email=settings.support_email,
        color=settings.brand_color,
        logo_url=settings.brand_logo_url,
        postal_address=settings.postal_address,
    )


class EmailChannel:
    """Sends mails from the address and through the servers that `settings` name.

    Args:
        settings: of the sender, the brand, and SMTP.
        patience: seconds that a mail waits for a new connection; None: for as long as it takes.

    Attributes:
        lease: longer than sending one mail can take, by the timeouts of the settings.
        hold_for: how long a mail is held while the server is in trouble.
    """

    def __init__(self, settings: Settings, *, patience: float | None = QUICK_SECONDS) -> None:
        self._sender = (settings.from_name, settings.from_email)
        self._renderer = Renderer(brand_of(settings), settings.default_currency, settings.default_timezone)
        self._relays = Relays(settings, patience=patience)
        self.lease = self._relays.longest + _LEASE_MARGIN
        self.hold_for = timedelta(hours=settings.smtp_retry_hours)

    @property
    def quick(self) -> bool:
        """Whether a mail is likely to be accepted at once."""
        return self._relays.quick

    def message_id(self, event_id: str) -> str:
        """The Message-ID of the mail for an event: the same at every attempt."""
        return message_id_for(event_id, ChannelName.EMAIL, self._sender[1])

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one mail. Its Message-ID is the one on record."""
        template = notification.template
        with metrics.RENDER.labels(template).time(), tracing.span("render", {"movieapp.template": template}):
            rendered = self._renderer.render(template, notification.event_data)
        message_id = notification.message_id or self.message_id(notification.event_id)
        relay = self._relays.send(
            compose(
                rendered,
                recipient=notification.recipient,
                sender=self._sender,
                message_id=message_id,
                date=utcnow(),
            )
        )
        sent = {"subject": rendered.subject, "message_id": message_id}
        return sent if relay == "primary" else sent | {"relay": relay}

    def close(self) -> None:
        """Close the connections to the SMTP servers."""
        self._relays.close()
