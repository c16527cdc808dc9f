"""Access to the dashboard: signing in with an API key starts a session of one working day.

The cookie is Flask's, signed with DASHBOARD_SECRET_KEY. It holds a random token whose hash the server stores:
signing out or revoking the key ends the session at once, including copies of the cookie. Forms carry a
second token of the session (OWASP, Cross-Site Request Forgery Prevention: synchronizer token).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from flask import Flask, Request, current_app, g, request, session
from flask.sessions import SecureCookieSession, SecureCookieSessionInterface

from app.clock import utcnow
from app.errors import Forbidden, Unauthorized
from app.keys.keyring import Keyring
from app.keys.scopes import SCOPES
from app.keys.store import find_in_force
from app.models import DashboardSession, storage_errors
from app.models.dashboard_session import SESSION_SECONDS
from app.operations.audit import Operator

if TYPE_CHECKING:
    from app.models import ApiKey
    from app.settings import Settings

READ, WRITE, MONEY, PERSONAL = "ops:read", "ops:write", "ops:money", "ops:pii"

#: Where sessions exist.
_PATH = "/dashboard"

#: Names in the cookie.
_SESSION, _FORM = "session", "form"


class Access:
    """Identifies the callers of the dashboard and decides what they may do.

    Args:
        settings: if they do not require keys, everyone has every scope.
    """

    def __init__(self, settings: Settings) -> None:
        self._open = not settings.auth_required
        self._keyring = Keyring()

    def identify(self) -> None:
        """Set `g.key` to the caller's API key, if any, and `g.scopes` to what the caller may do."""
        g.key = g.get("api_key") or _key_of_session()
        g.scopes = frozenset(SCOPES) if self._open else frozenset(g.key.scopes if g.key else ())

    def require(self, scope: str) -> None:
        """Require that the caller has `scope`.

        Raises:
            Unauthorized: the caller is not signed in.
            Forbidden: the key lacks the scope.
        """
        if scope in g.scopes:
            return
        if not g.scopes:
            raise Unauthorized("You are not signed in. Sign in with an API key.")
        raise Forbidden(f"This API key lacks the scope {scope}. Use a key with this scope.")

    def sign_in(self, token: str) -> None:
        """Start a session with the API key of a token.

        Raises:
            Unauthorized: the key does not exist, is revoked, or lacks `ops:read`.
            ServiceUnavailable: MongoDB is unavailable.
        """
        key = self._keyring.find(token)
        if key is None or READ not in key.scopes:
            raise Unauthorized(f"The API key is invalid or lacks the scope {READ}. Sign in with another key.")
        session.clear()  # the sign-in invalidates everything from before it
        session.permanent = True
        session[_SESSION] = secrets.token_urlsafe(32)
        with storage_errors():
            DashboardSession(id=_hash(session[_SESSION]), key_id=key.id, created_at=utcnow()).insert()

    def sign_out(self) -> None:
        """End the session, on the server too.

        Raises:
            ServiceUnavailable: MongoDB is unavailable; the session is still valid.
        """
        if token := session.get(_SESSION):
            with storage_errors():
                DashboardSession.objects(id=_hash(token)).delete()
        session.clear()

    def check_form(self) -> None:
        """Require that a form was sent from a page that this session was shown.

        Raises:
            Forbidden: it was not.
        """
        expected, sent = session.get(_FORM, ""), request.form.get("token", "")
        if not expected or not hmac.compare_digest(expected.encode(), sent.encode()):
            raise Forbidden(
                "This form has expired or was not sent from the dashboard. Reload the page and try again."
            )


def operator() -> Operator:
    """Return who acts in this request, for the audit log."""
    return Operator.in_dashboard(g.key)


def form_token() -> str:
    """Return the session's form token. The first call creates it."""
    token: str = session.setdefault(_FORM, secrets.token_urlsafe(32))
    return token


def _key_of_session() -> ApiKey | None:
    """Return the session's key, unless the session or the key has ended. Not cached, so revocation is
    immediate."""
    token = session.get(_SESSION)
    if not token:
        return None
    with storage_errors():
        stored = DashboardSession.objects(id=_hash(token)).first()
    # MongoDB deletes expired documents up to a minute late.
    if stored is None or stored.created_at < utcnow() - timedelta(seconds=SESSION_SECONDS):
        return None
    return find_in_force(stored.key_id)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _derived_secret_key(settings: Settings) -> bytes:
    """Return a key that all processes of a development stack share.

    It is not secret: a signature is worthless without a session that the server stores.
    """
    key = settings.payment_gateway_api_key.get_secret_value().encode()
    return hmac.digest(key, b"movieapp dashboard\0" + settings.mongodb_uri.encode(), "sha256")


class _DashboardSessions(SecureCookieSessionInterface):
    """Flask's sessions, for requests to /dashboard alone: nothing else reads one."""

    def open_session(self, app: Flask, request: Request) -> SecureCookieSession | None:
        return super().open_session(app, request) if request.path.startswith(_PATH) else None


def configure_sessions(app: Flask, settings: Settings) -> None:
    """Set up Flask's session for /dashboard alone."""
    app.session_interface = _DashboardSessions()
    app.secret_key = settings.dashboard_secret_key.get_secret_value() or _derived_secret_key(settings)
    app.config.update(
        SESSION_COOKIE_NAME="movieapp_dashboard",
        SESSION_COOKIE_PATH=_PATH,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=settings.app_env == "production",
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=timedelta(seconds=SESSION_SECONDS),
    )


def access() -> Access:
    """Return the `Access` of the current application."""
    found: Access = current_app.extensions["dashboard"]
    return found
