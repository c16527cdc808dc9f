"""The channel SMS: an event told in one text, handed to the provider that SMS_PROVIDER names."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from actors.channels.sms.countries import Countries
from actors.channels.sms.gsm7 import segments
from actors.channels.sms.numbers import e164
from actors.channels.sms.replies import AccountRefused
from actors.channels.sms.texts import Texts, without_codes
from actors.errors import PermanentFailure
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.models import Notification
    from app.settings import Settings

log = get_logger(__name__)


class Provider(Protocol):
    """Who carries texts."""

    def send(self, recipient: str, text: str) -> str | None:
        """Hand over one text.

        Returns:
            The provider's id of it, if it gives one.

        Raises:
            DeliveryError: it was not taken, or nobody knows.
        """

    def close(self) -> None:
        """Close connections."""


class _None:
    """Takes nothing. Texts that were queued before SMS was turned off wait in the dead letters."""

    def send(self, recipient: str, text: str) -> str | None:
        raise PermanentFailure("SMS is turned off: SMS_PROVIDER is none")

    def close(self) -> None:
        pass


class _Console:
    """Writes texts to the log."""

    def send(self, recipient: str, text: str) -> str | None:
        log.info("sms", recipient=recipient, text=text)
        return None

    def close(self) -> None:
        pass


def _provider(settings: Settings) -> Provider:
    match settings.sms_provider:
        case "none":
            return _None()
        case "console":
            return _Console()
        case "twilio":
            from actors.channels.sms.twilio import TwilioProvider  # in an extra: may not be installed

            return TwilioProvider(settings)


class SmsChannel:
    """Sends texts as `settings` say.

    Attributes:
        lease: longer than one text can take.
        hold_for: how long a text is held while the account is refused.
    """

    quick = True
    hold_for = timedelta(hours=24)

    def __init__(self, settings: Settings) -> None:
        # Connecting, sending and waiting for the answer have the timeout each.
        self.lease = timedelta(seconds=3 * settings.twilio_timeout + 60)
        self._texts = Texts(settings.from_name, settings.default_currency, settings.default_timezone)
        self._provider = _provider(settings)
        self._countries = Countries.of(settings)

    def message_id(self, event_id: str) -> None:
        """None: the provider gives the id."""

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one text.

        Returns:
            The provider's id of it as `message_id`, and how many messages were billed as `segments`.
        """
        recipient = e164(notification.recipient)
        self._countries.check(recipient)
        event = notification.event_data
        # What opens the door stays out of logs, also of a developer's.
        shown = without_codes(event) if isinstance(self._provider, _Console) else event
        text = self._texts.write(notification.event_type, shown)
        try:
            message_id = self._provider.send(recipient, text)
        except AccountRefused as error:
            log.error("no text can be sent until the settings are right", reason=str(error))
            raise
        sent = {"segments": segments(text)}
        return sent | {"message_id": message_id} if message_id else sent

    def close(self) -> None:
        """Close the provider's connections."""
        self._provider.close()
