"""Send SMS through Twilio, with its SDK.

Twilio has no idempotency key. The one policy: a text is sent again only if it surely was not taken: Twilio
refused it, or was never reached. A request that went out and got no answer is `Uncertain`: the text may be on
its way, so nothing repeats it but a person, who can look it up in Twilio's message log and replay its dead
letter. A 5xx is an answer, and counts as a refusal.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import requests
import urllib3.exceptions
from twilio.base.exceptions import TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from actors.channels.sms.replies import failure
from actors.errors import DeliveryError, TemporaryFailure, Uncertain

if TYPE_CHECKING:
    from app.settings import Settings

#: What urllib3 reports before a request went out.
_NEVER_SENT = (
    urllib3.exceptions.NewConnectionError,
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
)

_UNREADABLE = "Twilio's answer can't be read; the text may have been sent"


class TwilioProvider:
    """Sends SMS from the account that `settings` name. One for each process, for all its threads."""

    def __init__(self, settings: Settings) -> None:
        # Connections are kept, and nothing is tried twice: the SDK's defaults.
        self._http = TwilioHttpClient(timeout=settings.twilio_timeout)
        self._client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value(),
            http_client=self._http,
            # Not empty, or the SDK reads the process's: TWILIO_EDGE and TWILIO_REGION would change the host.
            environment={"TWILIO_REGION": ""},
        )
        self._client.api.base_url = settings.twilio_api_base
        self._sender = settings.twilio_from_number

    def send(self, recipient: str, text: str) -> str:
        """Submit one SMS to Twilio.

        Args:
            recipient: E.164.
            text: the body.

        Returns:
            Twilio's id of it, as `SM…`.

        Raises:
            DeliveryError: it was not taken, or nobody knows.
        """
        try:
            sent = self._client.messages.create(to=recipient, from_=self._sender, body=text)
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
        return TemporaryFailure(f"Twilio could not be reached: {type(reason).__name__}")
    return Uncertain(f"Twilio did not answer: {type(error).__name__}; the text may have been sent")
