"""The SMS channel: write an event as an SMS, and submit it to the provider of SMS_PROVIDER."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from actors.channels.sms.countries import Countries
from actors.channels.sms.gsm7 import segments
from actors.channels.sms.line import Line
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
    """An SMS provider."""

    def send(self, recipient: str, text: str, receipt_url: str | None) -> str | None:
        """Submit one SMS.

        Args:
            recipient: E.164.
            text: the body.
            receipt_url: URL for the provider's receipts; None for no receipts.

        Returns:
            The provider's message id, or None.

        Raises:
            DeliveryError: not accepted, or uncertain.
        """

    def close(self) -> None:
        """Close connections."""


class _None:
    """Provider that refuses everything. SMS queued before SMS was disabled become dead letters."""

    def send(self, recipient: str, text: str, receipt_url: str | None) -> str | None:
        raise PermanentFailure("SMS is disabled because SMS_PROVIDER is none: set a provider")

    def close(self) -> None:
        pass


class _Console:
    """Provider that writes SMS to the log."""

    def send(self, recipient: str, text: str, receipt_url: str | None) -> str | None:
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
            from actors.channels.sms.twilio import TwilioProvider  # an optional extra

            return TwilioProvider(settings)


class SmsChannel:
    """The SMS channel for `settings`.

    Attributes:
        lease: longer than sending one SMS can take.
        hold_duration: how long an SMS is held while Twilio refuses the account, or can't be reached.
    """

    is_quick = True
    hold_duration = timedelta(hours=24)

    def __init__(self, settings: Settings) -> None:
        # Connecting, sending, and waiting for the response each have this timeout.
        self.lease = timedelta(seconds=3 * settings.twilio_timeout + 60)
        self._texts = Texts(settings.from_name, settings.default_currency, settings.default_timezone)
        self._provider = _provider(settings)
        self._line = Line(settings.sms_provider)
        self._countries = Countries.of(settings)
        self._receipts_base = settings.sms_receipts_base

    def message_id(self, event_id: str) -> None:
        """Return None: the provider assigns the id when it accepts the SMS."""

    def send(self, notification: Notification) -> Mapping[str, Any]:
        """Send one SMS.

        Returns:
            The provider's id as `message_id`, and the number of billed messages as `segments`.
        """
        recipient = e164(notification.recipient)
        self._countries.check(recipient)
        event = notification.event_data
        # Entrance codes are never logged, even in development.
        shown = without_codes(event) if isinstance(self._provider, _Console) else event
        text = self._texts.write(notification.event_type, shown, with_codes=bool(notification.stands_in))
        try:
            with self._line.request():
                message_id = self._provider.send(recipient, text, self._receipt_url(notification))
        except AccountRefused as error:
            log.error("no SMS can be sent until the settings are corrected", reason=str(error))
            raise
        sent = {"segments": segments(text)}
        return sent | {"message_id": message_id} if message_id else sent

    def _receipt_url(self, notification: Notification) -> str | None:
        """Return the URL for receipts. It contains the delivery's id, because a receipt may arrive before
        Twilio's id is recorded, or after a lost response. Twilio signs the URL with every receipt."""
        if self._receipts_base is None:
            return None
        names = urlencode({"delivery": str(notification.id), "resend": notification.resends or 0})
        return f"{self._receipts_base}/notification/sms/status?{names}"

    def close(self) -> None:
        """Close the provider's connections."""
        self._provider.close()
