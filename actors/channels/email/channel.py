"""The email channel: render an event, compose the mail, and submit it to the SMTP server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from actors.channels.email.compose import compose, message_id_for
from actors.channels.email.render import Brand, Renderer
from actors.channels.email.smtp import Relays
from actors.channels.email.wallet import wallet_of
from actors.channels.email.wallet.issued import last_received_event
from actors.channels.email.wallet.showing import Style
from actors.circuit import QUICK_SECONDS
from app.channels import ChannelName
from app.clock import utcnow
from app.languages import Languages
from app.telemetry import metrics, tracing

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings


#: Time for rendering, and for MongoDB before and after.
_LEASE_MARGIN = timedelta(seconds=20)


def brand_of(settings: Settings) -> Brand:
    """Return the brand from `settings`."""
    return Brand(
        name=settings.from_name,
        address=settings.from_email,
        support_email=settings.support_email,
        color=settings.brand_color,
        logo_url=settings.brand_logo_url,
        postal_address=settings.postal_address,
    )


def renderer_of(settings: Settings) -> Renderer:
    """Return the renderer for `settings`, with wallet passes if they are enabled."""
    languages = Languages()
    contact = settings.support_email or settings.from_email
    style = Style(settings.from_name, settings.brand_color, contact, settings.brand_logo_url)
    return Renderer(
        brand_of(settings),
        settings.default_currency,
        settings.default_timezone,
        languages,
        wallet_of(settings, style, languages),
    )


class EmailChannel:
    """The email channel for the sender and servers of `settings`.

    Args:
        settings: have the sender, the brand, and SMTP.
        connect_wait_seconds: maximum time to wait for a new connection; None for no limit.

    Attributes:
        lease: longer than sending one mail can take, by the timeouts of the settings.
        hold_duration: how long a mail is held while the server is failing.
    """

    def __init__(self, settings: Settings, *, connect_wait_seconds: float | None = QUICK_SECONDS) -> None:
        self._sender = (settings.from_name, settings.from_email)
        self._key = settings.suppression_secret
        self._renderer = renderer_of(settings)
        self._relays = Relays(settings, connect_wait_seconds=connect_wait_seconds)
        self.lease = self._relays.longest + _LEASE_MARGIN
        self.hold_duration = timedelta(hours=settings.smtp_retry_hours)

    @property
    def is_quick(self) -> bool:
        """Return whether a mail is likely to be accepted quickly."""
        return self._relays.is_quick

    def message_id(self, event_id: str) -> str:
        """Return the Message-ID of the mail for an event: the same at every attempt."""
        return message_id_for(self._key, event_id, ChannelName.EMAIL, self._sender[1])

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one mail with the recorded Message-ID."""
        template = notification.template
        with metrics.RENDER.labels(template).time(), tracing.span("render", {"movieapp.template": template}):
            earlier = last_received_event(notification) if self._renderer.replaces_passes(template) else None
            rendered = self._renderer.render(template, notification.event_data, earlier)
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
