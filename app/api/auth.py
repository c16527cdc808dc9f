"""Who calls, and whether they may: `Authorization: Bearer mk_…` with the scope that an address needs."""

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
SCHEME = {"type": "http", "scheme": "bearer", "description": "An API key, made with `movieapp keys create`."}


def caller() -> str:
    """Who calls: the API key's id, or "" where keys are not required and none was sent."""
    key: ApiKey | None = g.get("api_key")
    return str(key.id) if key else ""


def may(scope: str) -> bool:
    """Whether the caller has `scope`; everybody has, where keys are not required and none was sent."""
    key: ApiKey | None = g.get("api_key")
    return not g.auth_required if key is None else scope in key.scopes


def requires(scope: str) -> Callable[[Any], Any]:
    """Decorate a view that only keys with `scope` may call."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            key: ApiKey | None = g.get("api_key")
            if key is None and g.auth_required:
                count_failure("key")
                raise Unauthorized("Send a valid API key: Authorization: Bearer mk_…")
            if key is not None and scope not in key.scopes:
                raise Forbidden(f"This API key lacks the scope {scope}.")
            return view(*args, **kwargs)

        # What OpenAPI says of it.
        checked._apidoc = {**getattr(view, "_apidoc", {})}  # type: ignore[attr-defined]
        checked._apidoc.setdefault("manual_doc", {})["security"] = [{"apiKey": []}]  # type: ignore[attr-defined]
        return checked

    return decorate


def document_optional_keys(spec: APISpec) -> None:
    """Say in the OpenAPI document that a key may be left out, where none is required."""
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
                g.auth_required = True  # a wrong key is wrong everywhere

    app.before_request(identify)
