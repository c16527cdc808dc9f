"""Who may look: an API key, given once, becomes a signed cookie of a working day.

The cookie holds the key's id, never the key; a key that is revoked is out within half a minute. Forms carry a
token that belongs to the cookie (OWASP, Cross-Site Request Forgery Prevention: signed double submit).
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Any

from flask import g, request
from itsdangerous import BadData, URLSafeTimedSerializer

from app.errors import Forbidden, Unauthorized
from app.keys.keyring import Keyring
from app.keys.scopes import SCOPES

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

    from app.settings import Settings

READ, WRITE, PERSONAL = "ops:read", "ops:write", "ops:pii"

_COOKIE = "movieapp_dashboard"

#: Seconds that a sign-in lasts.
_LASTS = 8 * 3600


class Access:
    """Signs people in, and knows what they may.

    Args:
        settings: every process that has the same signs alike. Where no key is required everybody may
            everything.
    """

    def __init__(self, settings: Settings) -> None:
        self._open = not settings.auth_required
        self._secure = settings.app_env == "production"
        self._keyring = Keyring()
        secret = _derived_secret(settings)
        self._sessions = URLSafeTimedSerializer(secret, "dashboard session")
        self._forms = URLSafeTimedSerializer(secret, "dashboard form")

    def identify(self) -> None:
        """Find out who asks: `g.session` has its nonce, `g.scopes` what it may."""
        try:
            session: dict[str, str] = self._sessions.loads(request.cookies.get(_COOKIE, ""), max_age=_LASTS)
        except BadData:
            session = {}
        key = g.get("api_key") or (self._keyring.get(session["key"]) if session.get("key") else None)
        g.session = session
        g.scopes = frozenset(SCOPES) if self._open else frozenset(key.scopes if key else ())

    def require(self, scope: str) -> None:
        """Go on only if the caller has `scope`.

        Raises:
            Unauthorized: nobody is signed in.
            Forbidden: the key lacks the scope.
        """
        if scope in g.scopes:
            return
        if not g.scopes:
            raise Unauthorized("Sign in with an API key.")
        raise Forbidden(f"This API key lacks the scope {scope}.")

    def sign_in(self, token: str, response: Response) -> None:
        """Put the cookie of the key with that token on `response`.

        Raises:
            Unauthorized: there is no such key in force, or it may not look.
        """
        key = self._keyring.find(token)
        if key is None or READ not in key.scopes:
            raise Unauthorized(f"That is no API key in force with the scope {READ}.")
        self._set(response, key.id)

    def sign_out(self, response: Response) -> None:
        """Take the cookie away."""
        response.delete_cookie(_COOKIE, path="/dashboard")

    def form_token(self) -> str:
        """What forms of this session carry."""
        return str(self._forms.dumps(self._nonce()))

    def check_form(self) -> None:
        """See that a form was sent from a page of ours, for the session that it was made for.

        Raises:
            Forbidden: it was not.
        """
        try:
            nonce = self._forms.loads(request.form.get("token", ""), max_age=_LASTS)
        except BadData:
            nonce = None
        ours = g.session.get("nonce")
        if not (isinstance(nonce, str) and ours and hmac.compare_digest(nonce, ours)):
            raise Forbidden("This form is too old, or was not sent from the dashboard. Load the page anew.")

    def keep(self, response: Response) -> Response:
        """Give a session to whoever has none yet: forms need one, also where no key does."""
        if g.get("new_nonce") and "Set-Cookie" not in response.headers:
            self._set(response, None)
        return response

    def _nonce(self) -> str:
        nonce = g.session.get("nonce")
        if not nonce:
            nonce = g.new_nonce = g.session["nonce"] = secrets.token_urlsafe(18)
        return str(nonce)

    def _set(self, response: Response, key_id: str | None) -> None:
        session: dict[str, Any] = {"key": key_id, "nonce": g.get("new_nonce") or secrets.token_urlsafe(18)}
        response.set_cookie(
            _COOKIE,
            self._sessions.dumps(session),
            max_age=_LASTS,
            path="/dashboard",
            httponly=True,
            secure=self._secure,
            samesite="Strict",
        )


def _derived_secret(settings: Settings) -> bytes:
    """A secret that all processes of a deployment share and nobody else knows, without another setting.

    Derived from the gateway's key, which says nothing of it (HMAC-SHA-256). In production that is a live key.
    """
    key = settings.payment_gateway_api_key.get_secret_value().encode()
    return hmac.digest(key, b"movieapp dashboard\0" + settings.mongodb_uri.encode(), "sha256")
