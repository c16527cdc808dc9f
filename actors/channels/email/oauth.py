"""OAuth 2.0 access tokens for SMTP: fetched, and cached until they expire (RFC 6749).

Uses the refresh token in SMTP_PASSWORD if there is one (Google, section 6), else the client's credentials
(Microsoft 365, section 4.4).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from actors.channels.email.errors import AuthenticationFailed, smtp_error
from actors.errors import Postponed

if TYPE_CHECKING:
    from actors.channels.email.server import TokenEndpoint

#: Timeout of the token endpoint, and seconds before expiry at which a token is renewed.
_TIMEOUT_SECONDS = 10.0
_RENEW_BEFORE_SECONDS = 60.0

_lock = threading.Lock()
_tokens: dict[TokenEndpoint, tuple[str, float]] = {}


def access_token(endpoint: TokenEndpoint, refresh_token: str, *, renew: bool = False) -> str:
    """Return an access token, cached until it expires.

    Args:
        endpoint: the token endpoint.
        refresh_token: empty to use the client's credentials.
        renew: ignore the cached token.

    Raises:
        AuthenticationFailed: the endpoint refuses the application.
        Postponed: the endpoint is unavailable.
    """
    with _lock:
        token, expires_at = _tokens.get(endpoint, ("", 0.0))
        if renew or time.monotonic() > expires_at - _RENEW_BEFORE_SECONDS:
            token, seconds = _fetch(endpoint, refresh_token)
            _tokens[endpoint] = token, time.monotonic() + seconds
        return token


def _fetch(endpoint: TokenEndpoint, refresh_token: str) -> tuple[str, float]:
    import requests
    from oauthlib.oauth2 import BackendApplicationClient, OAuth2Error
    from requests_oauthlib import OAuth2Session

    client = BackendApplicationClient(endpoint.client_id)
    how: dict[str, Any] = {
        "client_secret": endpoint.client_secret,
        "include_client_id": True,
        "timeout": _TIMEOUT_SECONDS,
    }
    try:
        with OAuth2Session(client=client) as session:
            if refresh_token:
                how |= {"client_id": endpoint.client_id, "refresh_token": refresh_token}
                token = session.refresh_token(endpoint.url, **how)
            else:
                if endpoint.scope:
                    # Not the session's scope, because oauthlib would raise if the endpoint grants a different
                    # one.
                    how["scope"] = endpoint.scope.split()
                token = session.fetch_token(endpoint.url, **how)
            return str(token["access_token"]), float(token.get("expires_in") or 300)
    except OAuth2Error as error:
        # Its text is the endpoint's `error` and `error_description`, which contain no secret.
        reason = f"the token endpoint refused the request: {error.error} {error.description or ''}".strip()
        advice = (
            "check SMTP_OAUTH2_CLIENT_ID, SMTP_OAUTH2_CLIENT_SECRET, SMTP_OAUTH2_SCOPE, and the refresh "
            "token in SMTP_PASSWORD"
        )
        raise smtp_error(AuthenticationFailed, "auth", None, reason, advice) from None
    except (requests.RequestException, KeyError, ValueError) as error:
        reason = f"the token endpoint returned no token: {type(error).__name__}"
        raise smtp_error(Postponed, "auth", None, reason, "check SMTP_OAUTH2_TOKEN_URL") from None
