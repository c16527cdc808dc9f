"""Dead letters: looked at, put back, thrown away."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import g, redirect, request, url_for

from app.dashboard.access import READ, WRITE, access
from app.dashboard.blueprint import argument, blueprint, page, requires, settings
from app.dashboard.present import masked
from app.messaging.dead_letters import open_dead_letters
from app.messaging.queues import QUEUES
from app.messaging.topology import Topology
from app.operations import dead_letters
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.messaging.dead_letters import DeadLetters

log = get_logger(__name__)

#: Letters that are shown, and that one click may act on: more is for the command line.
_MOST = 100


@blueprint.route("/dead-letters")
@requires(READ)
def letters() -> str:
    """Dead letters, oldest first in each queue."""
    event_type, error = argument("event_type"), argument("error")
    queue = request.args.get("queue")
    queues = (queue,) if queue in QUEUES else QUEUES
    selection = dead_letters.Selection(event_type=event_type, error=error, visible=masked)
    with _open_letters(queues) as (broker, names):
        total, unavailable = dead_letters.count(broker, names)
        unread = [names.pop(full) for full in unavailable]
        with closing(dead_letters.find(broker, names, selection)) as found:
            cases = [(case, names[case.letter.queue]) for case in islice(found, _MOST)]
    results = {name: request.args.get(name, type=int) for name in ("replayed", "dropped", "left")}
    return page(
        "dead_letters",
        cases=cases,
        total=total,
        unread=unread,
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
    access().check_form()
    ids, action = _chosen()
    return page("confirm", ids=sorted(ids), action=action)


@blueprint.route("/dead-letters/act", methods=["POST"])
@requires(WRITE)
def act() -> Any:
    """Put letters back onto their queues, or throw them away."""
    access().check_form()
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
    log.info("dead letters", action=action, key_id=g.key.id if g.key else None, count=sum(told.values()))
    outcome: dict[str, Any] = told
    return redirect(url_for("dashboard.letters", **outcome))


def _chosen() -> tuple[set[str], str]:
    ids = set(request.form.getlist("id")[:_MOST])
    action = "drop" if request.form.get("action") == "drop" else "replay"
    return ids, action


@contextmanager
def _open_letters(queues: tuple[str, ...]) -> Iterator[tuple[DeadLetters, dict[str, str]]]:
    """The broker's dead letters, and full name → short name of `queues`."""
    topology = Topology.of(settings())
    broker = open_dead_letters(settings())
    with closing(broker):
        yield broker, {topology.queue(queue): queue for queue in queues}
