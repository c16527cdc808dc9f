"""Authenticate API keys (`Authorization: Bearer mk_…`), and check their scopes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any

from flask import Flask, g, request

from app.api.failures import count_failure
from app.errors import Forbidden, Unauthorized
from app.keys.keyring import Keyring

if TYPE_CHECKING:
    from apispec import APISpec

    from app.models import ApiKey
    from app.settings import Settings

#: The OpenAPI security scheme.
SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, created with `movieapp keys create`.",
}


def caller() -> str:
    """Return the id of the caller's API key; "" if keys are optional and none was sent."""
    key: ApiKey | None = g.get("api_key")
    return str(key.id) if key else ""


def may(scope: str) -> bool:
    """Return whether the caller has `scope`. Without a key, where keys are optional, every scope is
    granted."""
    key: ApiKey | None = g.get("api_key")
    return not g.auth_required if key is None else scope in key.scopes


def requires(scope: str) -> Callable[[Any], Any]:
    """Restrict a view to keys with `scope`."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            key: ApiKey | None = g.get("api_key")
            if key is None and g.auth_required:
                count_failure("key")
                raise Unauthorized(
                    "The API key is missing or invalid. Send a valid key: Authorization: Bearer mk_…"
                )
            if key is not None and scope not in key.scopes:
                raise Forbidden(f"This API key lacks the scope {scope}. Use a key with this scope.")
            return view(*args, **kwargs)

        # Its description for OpenAPI.
        checked._apidoc = {**getattr(view, "_apidoc", {})}  # type: ignore[attr-defined]
        checked._apidoc.setdefault("manual_doc", {})["security"] = [{"apiKey": []}]  # type: ignore[attr-defined]
        return checked

    return decorate


def document_optional_keys(spec: APISpec) -> None:
    """Mark keys as optional in the OpenAPI document where the settings do not require one."""
    for path in spec._paths.values():
        for operation in path.values():
            if isinstance(operation, dict) and "security" in operation:
                operation["security"] = [{}, {"apiKey": []}]


def init_app(app: Flask, settings: Settings) -> None:
    """Identify the caller of every request that sends a key."""
    keyring = Keyring()

    def identify() -> None:
        g.auth_required = settings.auth_required
        sent = request.authorization
        if sent is not None and sent.type == "bearer" and sent.token:
            g.api_key = keyring.find(sent.token)
            if g.api_key is None:
                g.auth_required = True  # an invalid key is refused even where none is required

    app.before_request(identify)
