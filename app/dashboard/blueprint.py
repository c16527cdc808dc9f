"""Shared by all dashboard pages: access checks, rendering, and error pages."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException

from app.api.errors import STATUS
from app.dashboard.access import access
from app.errors import Problem, Unauthorized
from app.models import storage_errors
from app.services import services

if TYPE_CHECKING:
    from app.settings import Settings

blueprint = Blueprint(
    "dashboard",
    __name__,
    url_prefix="/dashboard",
    template_folder="templates",
    static_folder="static",
)

#: Only our own script, and nothing from other origins.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

#: Maximum characters of an address.
_MAX_ARGUMENT_LENGTH = 320


def settings() -> Settings:
    """Return the settings of this process."""
    return services().settings


def requires(scope: str) -> Callable[[Any], Any]:
    """Decorate a page that needs `scope`. A failure of the database becomes an error page."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            access().require(scope)
            with storage_errors():
                return view(*args, **kwargs)

        return checked

    return decorate


def page(template: str, **values: Any) -> str:
    """Render one of the templates."""
    return render_template(f"dashboard/{template}.html", **values)


def argument(name: str) -> str | None:
    """Return a query argument, cut to a maximum length; None if it is empty."""
    return request.args.get(name, "").strip()[:_MAX_ARGUMENT_LENGTH] or None


@blueprint.before_request
def _identify() -> None:
    if request.endpoint != "dashboard.static":
        access().identify()


@blueprint.after_request
def _finish(response: Response) -> Response:
    # The page of a notification shows the email in a frame, which has a separate policy.
    frames = "; frame-src 'self'" if g.get("frames") else ""
    response.headers["Content-Security-Policy"] = g.get("policy") or _POLICY + frames
    if "policy" in g:
        response.headers["X-Frame-Options"] = "SAMEORIGIN"
    if request.endpoint == "dashboard.static":
        response.headers["Cache-Control"] = "max-age=3600"
    return response


@blueprint.errorhandler(Problem)
def _problem(problem: Problem) -> Any:
    if isinstance(problem, Unauthorized) and request.method == "GET":
        return redirect(url_for("dashboard.sign_in", next=request.full_path.rstrip("?")))
    return page("error", message=problem.message), STATUS[problem.code]


@blueprint.errorhandler(HTTPException)
def _http_error(error: HTTPException) -> Any:
    return page("error", message=error.description), error.code or HTTPStatus.INTERNAL_SERVER_ERROR
