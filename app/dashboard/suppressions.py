"""The suppression list: look up, add, and remove recipients."""

from __future__ import annotations

from typing import Any

from flask import redirect, request, url_for

from app.dashboard.access import READ, WRITE, access, operator
from app.dashboard.blueprint import argument, blueprint, page, requires, settings
from app.errors import InvalidRequest
from app.operations import suppressions as operations
from app.suppressions.store import listed

#: Maximum number of entries shown. Use the command line for more.
_MAX_ROWS = 100

#: Maximum characters of an address and of a reason in a form.
_MAX_ADDRESS, _MAX_REASON = 320, 500


@blueprint.route("/suppressions")
@requires(READ)
def suppressions() -> str:
    """List active entries, newest first, or the entry of an address."""
    search = argument("q")
    if search:
        entry = operations.look_up(search, settings())
        rows, cut = ([entry] if entry else []), False
    else:
        found = list(listed().limit(_MAX_ROWS + 1))
        rows, cut = found[:_MAX_ROWS], len(found) > _MAX_ROWS
    done = request.args.get("done")
    return page("suppressions", rows=rows, cut=cut, search=search, done=done, most=_MAX_ROWS)


@blueprint.route("/suppressions/add", methods=["POST"])
@requires(WRITE)
def add_suppression() -> Any:
    """Suppress an address."""
    access().check_form()
    operations.add(_field("address", _MAX_ADDRESS), _field("reason", _MAX_REASON), operator(), settings())
    return redirect(url_for("dashboard.suppressions", done="added"))


@blueprint.route("/suppressions/remove", methods=["POST"])
@requires(WRITE)
def remove_suppression() -> Any:
    """End a suppression."""
    access().check_form()
    target, reason = _field("id", _MAX_ADDRESS), _field("reason", _MAX_REASON)
    removed = operations.remove(target, reason, operator(), settings())
    return redirect(url_for("dashboard.suppressions", done="removed" if removed else "unlisted"))


def _field(name: str, longest: int) -> str:
    value = request.form.get(name, "").strip()[:longest]
    if not value:
        raise InvalidRequest(f"The field {name} must not be empty.")
    return value
