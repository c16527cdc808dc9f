"""Signing in with an API key, and out."""

from __future__ import annotations

from typing import Any

from flask import make_response, redirect, request, url_for

from app.api.errors import STATUS
from app.dashboard.blueprint import access, blueprint, page
from app.errors import Unauthorized


@blueprint.route("/sign-in")
def sign_in() -> str:
    """Ask for an API key."""
    return page("sign_in", next=request.args.get("next", ""))


@blueprint.route("/sign-in", methods=["POST"])
def signed_in() -> Any:
    """Take an API key, and give a cookie for it."""
    access().check_form()
    # Only to our own pages.
    wanted = request.form.get("next", "")
    response = redirect(wanted if wanted.startswith("/dashboard") else url_for("dashboard.overview"))
    try:
        access().sign_in(request.form.get("key", "").strip(), response)
    except Unauthorized as error:
        return make_response(page("sign_in", next=wanted, message=error.message), STATUS[error.code])
    return response


@blueprint.route("/sign-out", methods=["POST"])
def sign_out() -> Any:
    """Forget who looks."""
    access().check_form()
    response = redirect(url_for("dashboard.sign_in"))
    access().sign_out(response)
    return response
