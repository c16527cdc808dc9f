"""The pages of the dashboard, for people who would rather look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import wraps
from http import HTTPStatus
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import (
    Blueprint,
    Response,
    current_app,
    g,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from werkzeug.exceptions import HTTPException

from app.api.errors import STATUS
from app.api.limits import limit_sign_in
from app.clock import from_iso, utcnow
from app.dashboard import present
from app.dashboard.access import READ, WRITE, Access
from app.errors import Problem, TransactionNotFound, Unauthorized
from app.figures import figures
from app.messaging.dead_letters import open_dead_letters
from app.messaging.topology import QUEUES, Topology
from app.models import Notification, Transaction, storage_errors
from app.operations import dead_letters, notifications
from app.payments import ledger, states
from app.payments.trace import trace
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.messaging.dead_letters import DeadLetters
    from app.settings import Settings

log = get_logger(__name__)

blueprint = Blueprint(
    "dashboard",
    __name__,
    url_prefix="/dashboard",
    template_folder="templates",
    static_folder="static",
)

SPANS = {
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}

STATUSES = tuple(sorted(states.MOVES))
DELIVERY_STATUSES = ("queued", "sending", "retrying", "sent", "skipped", "failed", "uncertain")

#: Rows of a page, and dead letters that one click may act on: more is for the command line.
_PAGE = 50
_LETTERS = 100

_LONGEST_SEARCH = 320

#: What a payment, and a delivery, can be found by: each has an index.
_PAYMENT_IDS = ("id", "refunds__id", "booking_id", "user_id", "gateway_id")
_DELIVERY_IDS = ("event_id", "booking_id", "recipient", "message_id")


def _access() -> Access:
    access: Access = current_app.extensions["dashboard"]
    return access


def _settings() -> Settings:
    settings: Settings = current_app.extensions["movieapp"][0]
    return settings


def requires(scope: str) -> Callable[[Any], Any]:
    """Decorate a page that only callers with `scope` get."""

    def decorate(view: Any) -> Any:
        @wraps(view)
        def checked(*args: Any, **kwargs: Any) -> Any:
            _access().require(scope)
            return view(*args, **kwargs)

        return checked

    return decorate


def _page(template: str, **values: Any) -> str:
    return render_template(f"dashboard/{template}.html", **values)


@blueprint.before_request
def _identify() -> None:
    if request.endpoint != "dashboard.static":
        _access().identify()


@blueprint.after_request
def _finish(response: Response) -> Any:
    response.headers["Content-Security-Policy"] = (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    if request.endpoint == "dashboard.static":
        response.headers["Cache-Control"] = "max-age=3600"
        return response
    return _access().keep(response)


@blueprint.errorhandler(Problem)
def _problem(problem: Problem) -> Any:
    if isinstance(problem, Unauthorized) and request.method == "GET":
        return redirect(url_for("dashboard.sign_in", next=request.full_path.rstrip("?")))
    return _page("error", message=problem.message), STATUS[problem.code]


@blueprint.errorhandler(HTTPException)
def _http_error(error: HTTPException) -> Any:
    return _page("error", message=error.description), error.code or HTTPStatus.INTERNAL_SERVER_ERROR


@blueprint.route("")
@requires(READ)
def overview() -> str:
    """How it goes: figures, charts, queues."""
    chosen = request.args.get("span", "24h")
    found = figures(_settings(), utcnow() - SPANS.get(chosen, SPANS["24h"]))
    return _page(
        "overview", figures=found, charts=present.courses(found.payments), spans=SPANS, chosen=chosen
    )


@blueprint.route("/payments")
@requires(READ)
def payments() -> str:
    """Payments, newest first, or what was searched for."""
    search, status = _searched(), request.args.get("status") or None
    with storage_errors():
        if search:
            found = _first_hit(Transaction, _PAYMENT_IDS, search, status)
        else:
            found = _newest(Transaction.objects, status)
    return _page("payments", **_paged(found), search=search, status=status, statuses=STATUSES)


@blueprint.route("/payments/<transaction_id>")
@requires(READ)
def payment(transaction_id: str) -> str:
    """A payment's whole story: states, events, mails and texts, attempts."""
    found = ledger.get(transaction_id)
    with storage_errors():
        deliveries = list(
            Notification.objects(booking_id=found.booking_id).order_by("created_at").limit(_PAGE)
        )
    return _page("payment", payment=found, story=trace(found.id), deliveries=deliveries)


@blueprint.route("/notifications")
@requires(READ)
def all_notifications() -> str:
    """Mails and texts, newest first, or what was searched for."""
    search, status = _searched(), request.args.get("status") or None
    with storage_errors():
        if search:
            found = _first_hit(Notification, _DELIVERY_IDS, search, status)
        else:
            found = _newest(Notification.objects, status)
    return _page("notifications", **_paged(found), search=search, status=status, statuses=DELIVERY_STATUSES)


@blueprint.route("/notifications/<notification_id>")
@requires(READ)
def notification(notification_id: str) -> str:
    """One mail or text: its attempts and its event."""
    with storage_errors():
        found = notifications.by_ids([notification_id]).get(notification_id)
    if found is None:
        raise TransactionNotFound("There is no such notification.")
    return _page("notification", notification=found)


@blueprint.route("/dead-letters")
@requires(READ)
def letters() -> str:
    """Dead letters, oldest first in each queue."""
    event_type, error = _short(request.args.get("event_type")), _short(request.args.get("error"))
    queue = request.args.get("queue")
    queues = (queue,) if queue in QUEUES else QUEUES
    selection = dead_letters.Selection(event_type=event_type, error=error)
    with _open_letters(queues) as (broker, names):
        total = sum(map(broker.count, names))
        with closing(dead_letters.find(broker, names, selection)) as found:
            cases = [(case, names[case.letter.queue]) for case in islice(found, _LETTERS)]
    results = {name: request.args.get(name, type=int) for name in ("replayed", "dropped", "left")}
    return _page(
        "dead_letters",
        cases=cases,
        total=total,
        queues=QUEUES,
        queue=queue,
        event_type=event_type,
        error=error,
        results={name: count for name, count in results.items() if count},
    )


@blueprint.route("/dead-letters/confirm", methods=["POST"])
@requires(WRITE)
def confirm() -> str:
    """Ask once more before letters are put back or thrown away."""
    _access().check_form()
    ids, action = _chosen()
    return _page("confirm", ids=sorted(ids), action=action)


@blueprint.route("/dead-letters/act", methods=["POST"])
@requires(WRITE)
def act() -> Any:
    """Put letters back onto their queues, or throw them away."""
    _access().check_form()
    ids, action = _chosen()
    selection = dead_letters.Selection(ids=frozenset(ids))
    with _open_letters(QUEUES) as (broker, names):
        if action == "drop":
            told = {"dropped": len(list(dead_letters.drop(broker, names, selection, len(ids))))}
        else:
            outcomes = Counter(
                dead_letters.replay(
                    broker,
                    names,
                    selection,
                    lambda: None,
                    include_uncertain="include_uncertain" in request.form,
                )
            )
            replayed = outcomes.pop(dead_letters.REPLAYED, 0)
            told = {"replayed": replayed, "left": outcomes.total()}
    log.info("dead letters", action=action, key_id=g.session.get("key"), count=sum(told.values()))
    outcome: dict[str, Any] = told
    return redirect(url_for("dashboard.letters", **outcome))


@blueprint.route("/sign-in")
def sign_in() -> str:
    """Ask for an API key."""
    return _page("sign_in", next=request.args.get("next", ""))


@blueprint.route("/sign-in", methods=["POST"])
@limit_sign_in  # type: ignore[untyped-decorator] # Flask-Limiter's
def signed_in() -> Any:
    """Take an API key, and give a cookie for it."""
    _access().check_form()
    # Only to our own pages.
    wanted = request.form.get("next", "")
    response = redirect(wanted if wanted.startswith("/dashboard") else url_for("dashboard.overview"))
    try:
        _access().sign_in(request.form.get("key", "").strip(), response)
    except Unauthorized as error:
        return make_response(_page("sign_in", next=wanted, message=error.message), STATUS[error.code])
    return response


@blueprint.route("/sign-out", methods=["POST"])
def sign_out() -> Any:
    """Forget who looks."""
    _access().check_form()
    response = redirect(url_for("dashboard.sign_in"))
    _access().sign_out(response)
    return response


def _searched() -> str | None:
    return _short(request.args.get("search"))


def _short(text: str | None) -> str | None:
    return text.strip()[:_LONGEST_SEARCH] or None if text else None


def _first_hit(record: Any, names: tuple[str, ...], search: str, status: str | None) -> list[Any]:
    """What has `search` as one of its ids; by the first kind of id that finds anything."""
    return next((found for name in names if (found := _newest(record.objects(**{name: search}), status))), [])


def _newest(query: Any, status: str | None) -> list[Any]:
    """One row more than a page: whether there is another."""
    before = from_iso(request.args.get("before"))
    conditions = {"status": status, "created_at__lt": before}
    given = {name: value for name, value in conditions.items() if value}
    return list(query.filter(**given).order_by("-created_at").limit(_PAGE + 1))


def _paged(found: list[Any]) -> Mapping[str, Any]:
    rows = found[:_PAGE]
    return {"rows": rows, "before": rows[-1].created_at.isoformat() if len(found) > _PAGE else None}


def _chosen() -> tuple[set[str], str]:
    ids = set(request.form.getlist("id")[:_LETTERS])
    action = "drop" if request.form.get("action") == "drop" else "replay"
    return ids, action


@contextmanager
def _open_letters(queues: tuple[str, ...]) -> Iterator[tuple[DeadLetters, dict[str, str]]]:
    """The broker's dead letters, and full name → short name of `queues`."""
    topology = Topology.of(_settings())
    broker = open_dead_letters(_settings())
    with closing(broker):
        yield broker, {topology.queue(queue): queue for queue in queues}
