"""Sign in with an API key, and sign out."""

from __future__ import annotations

import re
from typing import Any

from flask import make_response, redirect, request, url_for
from werkzeug.exceptions import BadRequest

from app.api.errors import STATUS
from app.dashboard.access import access
from app.dashboard.blueprint import blueprint, page
from app.errors import Unauthorized

#: Paths to redirect to: only ours, without line breaks or anything that a browser reads as another host.
_OWN_PAGE = re.compile(r"/dashboard(?:[/?][^\x00-\x1f\x7f\\\\]*)?")


@blueprint.route("/sign-in")
def sign_in() -> str:
    """Show the form for an API key."""
    return page("sign_in", next=_next_page(request.args.get("next", "")))


@blueprint.route("/sign-in", methods=["POST"])
def signed_in() -> Any:
    """Start a session with an API key."""
    access().check_form()
    next_page = _next_page(request.form.get("next", ""))
    try:
        access().sign_in(request.form.get("key", "").strip())
    except Unauthorized as error:
        return make_response(page("sign_in", next=next_page, message=error.message), STATUS[error.code])
    return redirect(next_page or url_for("dashboard.overview"))


@blueprint.route("/sign-out", methods=["POST"])
def sign_out() -> Any:
    """End the session."""
    access().check_form()
    access().sign_out()
    return redirect(url_for("dashboard.sign_in"))


def _next_page(next_page: str) -> str:
    """Return the page to open after the sign-in; "" for none.

    Raises:
        BadRequest: it is not a page of the dashboard.
    """
    if next_page and not _OWN_PAGE.fullmatch(next_page):
        raise BadRequest(
            "The page to open after sign-in is outside the dashboard. Open the dashboard, and sign in there."
        )
    return next_page
