"""Pages of dead letters: list them by reason, suggest fixes, and replay or drop them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import flash, g, redirect, request, url_for

from app.clock import utcnow
from app.dashboard.access import READ, WRITE, access, operator
from app.dashboard.blueprint import argument, blueprint, page, requires, settings
from app.dashboard.present import masked
from app.messaging.dead_letters import open_dead_letters
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.models import Notification, OperatorAction
from app.operations import dead_letters, notifications
from app.operations.audit import find_actions
from app.operations.reasons import reason_of
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.messaging.dead_letters import DeadLetters
    from app.operations.dead_letters import Case

log = get_logger(__name__)

#: Maximum number of dead letters that are shown, and that one action affects. Use the command line for more.
_MAX_ROWS = 100

#: Maximum number of dead letters that are read to group them by reason.
_MAX_GROUPED = 1_000

#: How long the progress of a replay is shown.
_FOLLOWED = timedelta(hours=2)

#: Arguments that filter the list.
_FILTERS = ("queue", "event_type", "reason", "error")


@dataclass(frozen=True)
class Row:
    """A row of the list of dead letters."""

    case: Case
    queue: str
    reason: str
    advice: str


@blueprint.route("/dead-letters")
@requires(READ)
def letters() -> str:
    """List dead letters, oldest first in each queue."""
    chosen = {name: value for name in _FILTERS if (value := argument(name))}
    queues = (chosen["queue"],) if chosen.get("queue") in QUEUES else QUEUES
    selection = dead_letters.Selection(
        event_type=chosen.get("event_type"), error=chosen.get("error"), visible=masked
    )
    rows: list[Row] = []
    with _open_letters(queues) as (broker, names):
        total, unavailable = dead_letters.count(broker, names)
        unread = [names.pop(full) for full in unavailable]
        with closing(dead_letters.find(broker, names, selection)) as found:
            for case in islice(found, _MAX_GROUPED):
                error = case.error
                rows.append(Row(case, names[case.letter.queue], reason_of(error), case.advice))
    reasons = Counter(row.reason for row in rows).most_common()
    matching = [row for row in rows if chosen.get("reason") in (None, row.reason)]
    return page(
        "dead_letters",
        rows=matching[:_MAX_ROWS],
        matching=len(matching),
        read=len(rows),
        total=total,
        reasons=reasons,
        unread=unread,
        queues=QUEUES,
        chosen=chosen,
        filter=_query(),
        followed=_followed(),
        shown_event=_shown_event,
    )


@blueprint.route("/dead-letters/confirm", methods=["POST"])
@requires(WRITE)
def confirm() -> str:
    """Ask for confirmation before dead letters are replayed or dropped."""
    access().check_form()
    ids, action = _submitted_action()
    selection = dead_letters.Selection(ids=frozenset(ids))
    reasons: Counter[str] = Counter()
    advice: dict[str, str] = {}
    if ids:
        with (
            _open_letters(QUEUES) as (broker, names),
            closing(dead_letters.find(broker, names, selection)) as found,
        ):
            for case in islice(found, len(ids)):
                reason = reason_of(case.error)
                reasons[reason] += 1
                advice[reason] = case.advice
    return page(
        "confirm",
        ids=sorted(ids),
        reasons=reasons.most_common(),
        advice=advice,
        action=action,
        filter=_query(),
        back=_back(),
    )


@blueprint.route("/dead-letters/act", methods=["POST"])
@requires(WRITE)
def act() -> Any:
    """Replay or drop dead letters."""
    access().check_form()
    ids, action = _submitted_action()
    selection = dead_letters.Selection(ids=frozenset(ids))
    with _open_letters(QUEUES) as (broker, names):
        if not ids:
            pass  # an empty selection would match all dead letters
        elif action == "drop":
            dropped = len(list(dead_letters.drop(broker, names, selection, len(ids), operator())))
            flash(f"{dropped} dropped.")
        else:
            outcomes = Counter(
                dead_letters.replay(
                    broker,
                    names,
                    selection,
                    lambda: None,
                    operator(),
                    include_uncertain="include_uncertain" in request.form,
                )
            )
            replayed = outcomes.pop(dead_letters.REPLAYED, 0)
            flash(f"{replayed} replayed. The results are at the end of this page.")
            for reason, count in outcomes.items():
                flash(f"{count} not replayed: {reason}.", "bad")
    log.info("dead letters", action=action, key_id=g.key.id if g.key else None, count=len(ids))
    return redirect(_back())


@dataclass(frozen=True)
class Followed:
    """A replay and its result.

    Attributes:
        status: of the notification; "handled" for an event that needs none, None while it waits.
    """

    action: OperatorAction
    notification: Notification | None

    @property
    def status(self) -> str | None:
        """Return the notification's current status."""
        return self.notification.status if self.notification else None


def _followed() -> list[Followed]:
    """Return the latest replays with their notifications."""
    actions = find_actions(_MAX_ROWS, action="dead_letters.replay", since=utcnow() - _FOLLOWED)
    named = notifications.by_ids({str(each.details.get("notification")) for each in actions})
    events = {each.target for each in actions if not each.details.get("notification")}
    by_event = {each.event_id: each for each in Notification.objects(event_id__in=sorted(events))}
    return [
        Followed(each, named.get(str(each.details.get("notification"))) or by_event.get(each.target))
        for each in actions
    ]


def _shown_event(row: Row) -> Any:
    """Return the event of a dead letter, or the readable part of its body."""
    if row.case.event is not None:
        return row.case.event
    return row.case.letter.body[:2_000].decode("utf-8", "replace")


def _submitted_action() -> tuple[set[str], str]:
    ids = set(request.form.getlist("id")[:_MAX_ROWS])
    action = "drop" if request.form.get("action") == "drop" else "replay"
    return ids, action


def _query() -> str:
    """Return the list's filter, from the query or the form."""
    given = request.form.get("filter") if request.method == "POST" else request.query_string.decode()
    return (given or "")[:2_000]


def _back() -> str:
    query = _query()
    return url_for("dashboard.letters") + (f"?{query}" if query else "")


@contextmanager
def _open_letters(queues: tuple[str, ...]) -> Iterator[tuple[DeadLetters, dict[str, str]]]:
    """Open the broker's dead letters. Return them, and a map of full to short queue names."""
    topology = Topology.of(settings())
    broker = open_dead_letters(settings())
    with closing(broker):
        yield broker, {topology.queue(queue): queue for queue in queues}
