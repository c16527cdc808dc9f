"""Send SMS through Twilio, with its SDK.

Twilio has no idempotency key, so a message is retried only if it was certainly not accepted: Twilio refused
it with a 4xx, or was not reached. A request without a response, or with a 5xx, is `Uncertain`: the message
may be on its way. A receipt settles it (`app.feedback.receipts`). Without one, only an operator can resend
it, after a look at Twilio's message log.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions
from twilio.base import values
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from actors.channels.sms.line import Unreachable
from actors.channels.sms.replies import failure
from actors.errors import DeliveryError, Uncertain

if TYPE_CHECKING:
    from app.settings import Settings

#: Errors of urllib3 that occur before a request is sent.
_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)

_UNREADABLE = "Twilio's response can't be parsed: the SMS may have been sent"


class TwilioProvider:
    """SMS provider for the Twilio account of `settings`. One instance serves all threads of a process."""

    def __init__(self, settings: Settings) -> None:
        # The SDK's defaults: connections are reused, and requests are not retried.
        self._http = TwilioHttpClient(timeout=settings.twilio_timeout)
        self._client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value(),
            http_client=self._http,
            # Not empty, or the SDK would read TWILIO_EDGE and TWILIO_REGION from the environment and change
            # the host.
            environment={"TWILIO_REGION": ""},
        )
        self._client.api.base_url = settings.twilio_api_base
        self._sender = settings.twilio_from_number

    def send(self, recipient: str, text: str, receipt_url: str | None) -> str:
        """Submit one SMS to Twilio.

        Args:
            recipient: E.164.
            text: the body.
            receipt_url: URL for Twilio's receipts; None for no receipts.

        Returns:
            Twilio's message id (`SM…`).

        Raises:
            DeliveryError: not accepted, or uncertain.
        """
        try:
            sent = self._client.messages.create(
                to=recipient,
                from_=self._sender,
                body=text,
                status_callback=values.unset if receipt_url is None else receipt_url,
            )
        except TwilioRestException as error:
            raise failure(error.status, error.code or error.status, error.msg) from error
        except TwilioServiceException as error:
            raise failure(error.status, error.code, error.detail or error.title) from error
        except requests.RequestException as error:
            raise _unanswered(error) from error
        except ValueError as error:  # no JSON
            raise Uncertain(_UNREADABLE) from error
        if not sent.sid:
            raise Uncertain(_UNREADABLE)
        return str(sent.sid)

    def close(self) -> None:
        """Close the kept connections."""
        self._http.session.close()


def _unanswered(error: requests.RequestException) -> DeliveryError:
    # requests' exception holds urllib3's, which holds the reason.
    cause = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    untrusted = isinstance(reason, urllib3.exceptions.SSLError) and isinstance(
        reason.args[0], ssl.SSLCertVerificationError
    )
    if untrusted or isinstance(reason, _NEVER_SENT):
        return Unreachable(f"Twilio could not be reached: {type(reason).__name__}")
    return Uncertain(f"Twilio did not respond ({type(error).__name__}): the SMS may have been sent")
