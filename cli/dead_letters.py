"""`movieapp dead-letters`: what was refused or given up, seen, put back or thrown away."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from app.messaging.queues import QUEUES
from cli.notifications import attempts, print_details
from cli.options import connect, expected_failures, moment
from cli.output import json_option, print_json, progress, table

if TYPE_CHECKING:
    from app.messaging.dead_letters import DeadLetters
    from app.operations.dead_letters import Case, Selection

#: Characters of an error in a list, and of a body that is no message.
_ERROR, _BODY = 160, 4_000


def _picking(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options that pick letters: `queues` and `selection`."""
    for option in reversed(
        (
            click.option(
                "--queue", "queues", multiple=True, type=click.Choice(QUEUES), help="Of this queue."
            ),
            click.option("--event-type", metavar="TYPE", help="About this type of event."),
            click.option("--error", metavar="TEXT", help="With this text in the error."),
            click.option("--older-than", type=moment, help="Dead for longer: 2h, 7d, or since a time."),
            click.option("--newer-than", type=moment, help="Dead for less long."),
        )
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay and drop dead letters: messages that were refused or given up.

    Nothing here expires by itself. `dlq` is short for `dead-letters`.

    \b
    Example:
        movieapp dead-letters list --event-type booking.confirmed
        movieapp dead-letters replay --error "Connection refused" --dry-run
    """


@dead_letters.command("list")
@_picking
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@json_option
@expected_failures
def list_all(queues: tuple[str, ...], limit: int, as_json: bool, **picked: Any) -> None:
    """List dead letters, oldest first in each queue. Nothing is taken or moved.

    \b
    Example:
        movieapp dead-letters list --queue notification.email --older-than 2h
    """
    from app.operations.dead_letters import find

    selection = _selection(**picked)
    with _open(queues) as (letters, names):
        total, names, unavailable = _reachable(letters, names)
        with closing(find(letters, names, selection)) as found:
            rows = [_summary(case, names[case.letter.queue]) for case in islice(found, limit)]
    if as_json:
        print_json(rows)
    elif rows:
        table(
            ("ID", "QUEUE", "DIED", "EVENT TYPE", "EVENT", "BOOKING", "STATUS", "ERROR"),
            ([*list(row.values())[:-1], (row["error"] or "")[:_ERROR]] for row in rows),
        )
    if not as_json:
        click.echo(f"{len(rows)} shown of {total} dead letters.", err=True)
    _report_unavailable(unavailable)


@dead_letters.command()
@click.argument("letter_id", metavar="ID")
@json_option
@expected_failures
def show(letter_id: str, as_json: bool) -> None:
    """Show the dead letter ID: its error, every try with the server's reply, and the event.

    \b
    Example:
        movieapp dead-letters show 0f3c9a5be771
    """
    from app.operations.dead_letters import find

    with _open(()) as (letters, names):
        _, names, unavailable = _reachable(letters, names)
        with closing(find(letters, names, _selection((letter_id,)))) as found:
            case = next(found, None)
        if case is None:
            _report_unavailable(unavailable)
            raise click.ClickException(f"no dead letter has the id {letter_id}")
        details = _details(case, names[case.letter.queue])
    if as_json:
        print_json(details)
    else:
        print_details(details)


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_picking
@click.option("--limit", type=click.IntRange(1), help="At most so many, oldest first.")
@click.option("--rate", type=click.FloatRange(0.1, 10_000), default=100, show_default=True, help="A second.")
@click.option("--include-uncertain", is_flag=True, help="Also mails that may have arrived.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@json_option
@expected_failures
def replay(
    ids: tuple[str, ...],
    queues: tuple[str, ...],
    limit: int | None,
    rate: float,
    include_uncertain: bool,
    dry_run: bool,
    as_json: bool,
    **picked: Any,
) -> None:
    """Put dead letters back onto their queues: those with these IDs, those that match, or all.

    A letter leaves the dead only when its message is safe on the queue again, so this may be interrupted or
    killed at any time and started again. What was sent is never sent twice by it. Exit code 1 if one that
    was picked stays dead.

    \b
    Example:
        movieapp dead-letters replay --queue notification.email --error certificate --rate 20
    """
    from app.operations.dead_letters import REPLAYED, Pace
    from app.operations.dead_letters import replay as replaying

    selection = _selection(ids, **picked)
    tally: Counter[str] = Counter()
    with _open(queues) as (letters, names):
        reachable, names, unavailable = _reachable(letters, names)
        total = None if selection else min(reachable, limit or sys.maxsize)
        uncertain = {"include_uncertain": include_uncertain, "dry_run": dry_run}
        outcomes = replaying(letters, names, selection, Pace(rate), **uncertain)
        try:
            with closing(outcomes):
                tally.update(progress(islice(outcomes, limit), total, "Replaying"))
        except KeyboardInterrupt:
            raise click.ClickException("interrupted; what was not replayed is still dead") from None
        finally:
            _report(tally.pop(REPLAYED, 0), tally, dry_run, as_json)
    _report_unavailable(unavailable)
    if tally:
        sys.exit(1)


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_picking
@click.option("--dry-run", is_flag=True, help="Only say how many.")
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can answer.")
@json_option
@expected_failures
def drop(
    ids: tuple[str, ...],
    queues: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **picked: Any,
) -> None:
    """Remove dead letters for good: those with these IDs, those that match, or all.

    The records of their deliveries stay; `movieapp notifications resend` can still send those.

    \b
    Example:
        movieapp dead-letters drop --queue notification.booking_events --older-than 90d
    """
    from app.operations.dead_letters import drop as dropping
    from app.operations.dead_letters import find

    selection = _selection(ids, **picked)
    dropped = 0
    with _open(queues) as (letters, names):
        _, names, unavailable = _reachable(letters, names)
        with closing(find(letters, names, selection)) as found:
            count = sum(1 for _ in found)
        if count and not dry_run and _confirmed(count, yes):
            # No more than were counted: what died since was not agreed to.
            with closing(dropping(letters, names, selection, count)) as gone:
                dropped = sum(1 for _ in progress(gone, count, "Dropping"))
    if as_json:
        print_json({"dropped": dropped, "matched": count})
    else:
        click.echo(f"{dropped} of {count} dropped.")
    _report_unavailable(unavailable)


def _confirmed(count: int, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to ask: --yes drops without asking")
    return click.confirm(f"Drop {count} dead letters for good?", abort=True)


def _report(replayed: int, left: Counter[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"replayed": replayed, "left": left, "dry_run": dry_run})
        return
    click.echo(f"{replayed} would be replayed." if dry_run else f"{replayed} replayed.")
    for reason, count in left.most_common():
        click.echo(f"{count} left dead: {reason}.", err=True)


def _reachable(letters: DeadLetters, names: dict[str, str]) -> tuple[int, dict[str, str], list[str]]:
    """How many dead letters can be read, in which queues, and the names of the queues that can't be read."""
    from app.operations.dead_letters import count

    total, unavailable = count(letters, names)
    reachable = {queue: name for queue, name in names.items() if queue not in unavailable}
    return total, reachable, [names[queue] for queue in unavailable]


def _report_unavailable(unavailable: list[str]) -> None:
    """Name the queues that could not be read, and end with exit code 1."""
    if unavailable:
        click.echo(f"Not read, on a node that is down: {', '.join(unavailable)}.", err=True)
        sys.exit(1)


@contextmanager
def _open(queues: tuple[str, ...]) -> Iterator[tuple[DeadLetters, dict[str, str]]]:
    """The dead letters, and the queues to look at: full name → name."""
    settings = connect()
    from app.messaging.dead_letters import open_dead_letters
    from app.messaging.topology import Topology

    topology = Topology.of(settings)
    with closing(open_dead_letters(settings)) as letters:
        yield letters, {topology.queue(name): name for name in queues or QUEUES}


def _selection(
    ids: tuple[str, ...] = (),
    event_type: str | None = None,
    error: str | None = None,
    older_than: datetime | None = None,
    newer_than: datetime | None = None,
) -> Selection:
    from app.operations.dead_letters import Selection

    return Selection(frozenset(ids), event_type, error, before=older_than, after=newer_than)


def _summary(case: Case, queue: str) -> dict[str, Any]:
    event = case.event or {}
    return {
        "id": case.letter.id,
        "queue": queue,
        "died_at": case.letter.died_at,
        "event_type": event.get("event_type"),
        "event_id": event.get("event_id"),
        "booking_id": event.get("booking_id"),
        "status": case.notification.status if case.notification else None,
        "error": case.error,
    }


def _details(case: Case, queue: str) -> dict[str, Any]:
    delivery = case.notification
    body = case.letter.body[:_BODY].decode("utf-8", "backslashreplace")
    return {
        **_summary(case, queue),
        "actor": case.letter.actor,
        "first_error": case.letter.first_error,
        "notification_id": case.letter.notification_id,
        "recipient": delivery.recipient if delivery else None,
        "message_id": delivery.message_id if delivery else None,
        "attempts": attempts(delivery) if delivery else [],
        "event": case.event,
        "size": len(case.letter.body),
        # Escaped where it is printed; what is no text is escaped here.
        "body": None if case.event else body,
    }
