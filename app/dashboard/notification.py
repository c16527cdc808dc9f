"""The page of one notification: the message, its attempts, and resending it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pkgutil import resolve_name
from typing import Any

from flask import Response, flash, g, redirect, request, url_for

from app.channels import CHANNELS, NotRendered, Preview
from app.dashboard.access import PERSONAL, READ, WRITE, access, operator
from app.dashboard.blueprint import blueprint, page, requires, settings
from app.dashboard.present import harmless
from app.delivery_status import ARRIVED
from app.errors import Problem, TransactionNotFound
from app.messaging.broker import make_broker
from app.messaging.dispatch import Dispatch
from app.messaging.topology import Topology
from app.models import storage_errors
from app.operations import notifications
from app.operations.advice import advice_on
from app.operations.audit import actions_on
from app.operations.records import notification_document
from app.telemetry.logs import get_logger

log = get_logger(__name__)

#: Policy of the frame that shows an email: no scripts, no forms, and no external resources.
_MAIL_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; "
    "base-uri 'none'; form-action 'none'"
)

#: Maximum number of notifications that one form resends. Use the command line for more.
_MAX_SELECTED = 100


@blueprint.route("/notifications/<notification_id>")
@requires(READ)
def notification(notification_id: str) -> str:
    """Show one notification: the message, its attempts, and its event."""
    found = _document(notification_id)
    preview, problem = _preview(found)
    g.frames = preview is not None and preview.html is not None
    return page(
        "notification",
        notification=found,
        preview=preview,
        problem=problem,
        actions=actions_on([str(found["_id"])]),
        advice=advice_on(found.get("error_message"), found.get("status")),
    )


@blueprint.route("/notifications/<notification_id>/mail")
@requires(READ)
def mail(notification_id: str) -> Response:
    """Show an email's HTML part, for a sandboxed frame."""
    preview, problem = _preview(_document(notification_id))
    response = Response(preview.html if preview and preview.html else problem, mimetype="text/html")
    if not (preview and preview.html):
        response.mimetype = "text/plain"
    g.policy = _MAIL_POLICY
    return response


@blueprint.route("/notifications/confirm", methods=["POST"])
@requires(WRITE)
def confirm_resend() -> str:
    """Ask for confirmation before notifications are resent."""
    access().check_form()
    chosen = list(notifications.by_ids(request.form.getlist("id")[:_MAX_SELECTED]).values())
    arrived = [each for each in chosen if each.status in ARRIVED]
    return page("confirm_resend", chosen=chosen, sent=arrived, back=_back())


@blueprint.route("/notifications/act", methods=["POST"])
@requires(WRITE)
def resend() -> Any:
    """Resend notifications."""
    access().check_form()
    ids, again = request.form.getlist("id")[:_MAX_SELECTED], "again" in request.form
    queued, refused = 0, {}
    with closing(make_broker(settings())) as broker:
        dispatch = Dispatch(broker, Topology.of(settings()))
        for notification_id in ids:
            try:
                with storage_errors():
                    reason = notifications.resend(notification_id, dispatch, operator(), again=again)
            except Problem as problem:
                reason = problem.message
            if reason:
                refused[notification_id] = reason
            else:
                queued += 1
    if queued:
        flash(f"{queued} queued again.")
    for reason in dict.fromkeys(refused.values()):
        flash(f"{list(refused.values()).count(reason)} not queued: {reason}.", "bad")
    if len(ids) == 1:
        return redirect(url_for("dashboard.notification", notification_id=ids[0]))
    return redirect(_back())


def _back() -> str:
    """Return the URL of the form's list, with its filter."""
    query = request.form.get("filter", "")[:2_000]
    return url_for("dashboard.all_notifications") + (f"?{query}" if query else "")


def _preview(found: Mapping[str, Any]) -> tuple[Preview | None, str]:
    """Render a notification from its stored event; without `ops:pii`, personal data is masked first.

    Returns:
        The message or None, and the reason if there is none.
    """
    event, channel = found.get("event_data"), found.get("notification_type")
    row = next((row for name, row in CHANNELS.items() if name == channel), None)
    if row is None or not isinstance(event, Mapping):
        return None, "The record has no event to render."
    shown = event if PERSONAL in g.scopes else harmless(event)
    try:
        preview: Preview = resolve_name(row.preview)(settings(), found.get("template"), shown)
    except NotRendered as error:
        return None, str(error)
    except ImportError:
        return None, "The templates are not installed here."
    except Exception as error:
        log.warning(
            "notification not rendered", notification_id=str(found["_id"]), reason=type(error).__name__
        )
        return None, "The stored event can't be rendered."
    return preview, ""


def _document(notification_id: str) -> dict[str, Any]:
    found = notification_document(notification_id)
    if found is None:
        raise TransactionNotFound("No notification has this id.")
    return found
