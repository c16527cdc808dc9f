"""`movieapp dead-letters`: list, show, replay, and drop dead letters."""

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
from cli.listing import Listing, listing_options
from cli.notifications import attempts, print_details
from cli.options import confirm, connect, expected_failures, moment, operator, yes_option
from cli.output import json_option, print_json, progress

if TYPE_CHECKING:
    from app.messaging.dead_letters import DeadLetters
    from app.operations.dead_letters import Case, Selection

#: Maximum characters shown of an undecodable body.
_MAX_BODY = 4_000

#: Heading → field of a list.
_LISTED = {
    "ID": "id",
    "QUEUE": "queue",
    "DEAD SINCE": "died_at",
    "EVENT TYPE": "event_type",
    "EVENT": "event_id",
    "BOOKING": "booking_id",
    "STATUS": "status",
    "ERROR": "error",
}


def _picking(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command with the options that select dead letters: `queues` and `selection`."""
    for option in reversed(
        (
            click.option(
                "--queue",
                "queues",
                multiple=True,
                type=click.Choice(QUEUES),
                help="Only dead letters of this queue (repeatable).",
            ),
            click.option("--event-type", metavar="TYPE", help="Only dead letters of this event type."),
            click.option("--error", metavar="TEXT", help="Only dead letters whose error contains TEXT."),
            click.option(
                "--older-than",
                type=moment,
                metavar="AGE|TIME",
                help="Only dead letters older than AGE (such as 2h or 7d), or from before TIME (ISO 8601).",
            ),
            click.option(
                "--newer-than",
                type=moment,
                metavar="AGE|TIME",
                help="Only dead letters newer than AGE (such as 2h or 7d), or from after TIME (ISO 8601).",
            ),
        )
    ):
        command = option(command)
    return command


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, replay, and drop dead letters.

    A dead letter is a message that no worker will retry. Dead letters never expire.
    `dlq` is short for `dead-letters`.

    \b
    Examples:
        movieapp dead-letters list --event-type booking.confirmed
        movieapp dead-letters replay --error "Connection refused" --dry-run
    """


@dead_letters.command("list")
@_picking
@listing_options()
@expected_failures
def list_all(listing: Listing, queues: tuple[str, ...], **picked: Any) -> None:
    """List dead letters, oldest first in each queue.

    \b
    Example:
        movieapp dead-letters list --queue notification.email --older-than 2h
    """
    from app.operations.dead_letters import find

    selection = _selection(**picked)
    with _open(queues) as (letters, names):
        total, names, unavailable = _reachable(letters, names)
        with closing(find(letters, names, selection)) as found:
            rows = (_summary(case, names[case.letter.queue]) for case in islice(found, listing.fetch_limit))
            cut = listing.show(
                rows, _LISTED, empty="No dead letters match these filters." if total else "No dead letters."
            )
    if cut or selection:
        click.echo(f"Dead letters in these queues: {total}.", err=True)
    _report_unavailable(unavailable)


@dead_letters.command()
@click.argument("letter_id", metavar="ID")
@json_option
@expected_failures
def show(letter_id: str, as_json: bool) -> None:
    """Show the error, attempts, and event of a dead letter.

    ID is the id that `dead-letters list` shows.

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
            raise click.ClickException(f"No dead letter has the id {letter_id}.")
        details = _details(case, names[case.letter.queue])
    if as_json:
        print_json(details)
    else:
        print_details(details)


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_picking
@click.option(
    "--limit",
    type=click.IntRange(1),
    metavar="N",
    help="Replay at most N dead letters, oldest first in each queue.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 10_000),
    default=100,
    show_default=True,
    help="Replay at most this many dead letters per second.",
)
@click.option(
    "--include-uncertain",
    is_flag=True,
    help="Also replay emails and SMS that may have been delivered. Customers may get them twice.",
)
@click.option(
    "--dry-run", is_flag=True, help="Show how many dead letters would be replayed, and change nothing."
)
@yes_option
@json_option
@expected_failures
def replay(
    ids: tuple[str, ...],
    queues: tuple[str, ...],
    limit: int | None,
    rate: float,
    include_uncertain: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    **picked: Any,
) -> None:
    """Put dead letters back onto their queues, by id or by filter.

    Without ids or filters, the command replays all dead letters. It first asks for confirmation, unless --yes
    is passed. With ids or filters, the command does not ask for confirmation.

    You can interrupt and repeat the command. The command deletes a dead letter only after the message is back
    on its queue. Workers do not resend an email or SMS that was already sent. Exit code: 0 if every
    selected dead letter was replayed, 1 if any was not or if none matches.

    \b
    Example:
        movieapp dead-letters replay --queue notification.email --error certificate
    """
    from app.operations.dead_letters import REPLAYED, Pace
    from app.operations.dead_letters import replay as replaying

    selection = _selection(ids, **picked)
    tally: Counter[str] = Counter()
    with _open(queues) as (letters, names):
        reachable, names, unavailable = _reachable(letters, names)
        total = None if selection else min(reachable, limit or sys.maxsize)
        if total and not queues and not dry_run:
            confirm(f"Replay {total} dead letters of all queues?", yes)
        uncertain = {"include_uncertain": include_uncertain, "dry_run": dry_run}
        outcomes = replaying(letters, names, selection, Pace(rate), operator(), **uncertain)
        try:
            with closing(outcomes):
                tally.update(progress(islice(outcomes, limit), total, "Replaying"))
        except KeyboardInterrupt:
            raise click.ClickException("Interrupted. Dead letters that were not replayed are kept.") from None
        finally:
            replayed = tally.pop(REPLAYED, 0)
            _report(replayed, tally, dry_run, as_json)
    _report_unavailable(unavailable)
    if tally:
        sys.exit(1)
    if not replayed:
        raise click.ClickException(f"Nothing replayed: {_nothing(reachable)}.")


@dead_letters.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@_picking
@click.option(
    "--dry-run", is_flag=True, help="Show how many dead letters would be deleted, and delete nothing."
)
@yes_option
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
    """Permanently delete dead letters, by id or by filter.

    Without ids or filters, the command deletes all dead letters. It asks for confirmation, even with ids or
    filters, unless --yes is passed. The command keeps the records of the notifications. You can therefore
    still send the emails and SMS with `movieapp notifications resend`.

    \b
    Example:
        movieapp dead-letters drop --queue notification.sms --older-than 90d
    """
    from app.operations.dead_letters import drop as dropping
    from app.operations.dead_letters import find

    selection = _selection(ids, **picked)
    dropped = 0
    with _open(queues) as (letters, names):
        reachable, names, unavailable = _reachable(letters, names)
        with closing(find(letters, names, selection)) as found:
            count = sum(1 for _ in found)
        if count and not dry_run:
            confirm(f"Permanently delete {count} dead letters?", yes)
            # No more than were counted, because the operator did not confirm later ones.
            with closing(dropping(letters, names, selection, count, operator())) as deletions:
                dropped = sum(1 for _ in progress(deletions, count, "Dropping"))
    if as_json:
        print_json({"dropped": dropped, "matched": count, "dry_run": dry_run})
    elif dry_run:
        click.echo(f"{count} would be dropped.")
    elif count:
        click.echo(f"{dropped} of {count} dropped.")
    if not (count or as_json or dry_run):
        click.echo(f"Nothing dropped: {_nothing(reachable)}.", err=True)
    _report_unavailable(unavailable)


def _nothing(total: int) -> str:
    return f"none of the {total} dead letters match" if total else "there are no dead letters in these queues"


def _report(replayed: int, left: Counter[str], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"replayed": replayed, "left": left, "dry_run": dry_run})
        return
    click.echo(f"{replayed} would be replayed." if dry_run else f"{replayed} replayed.")
    for reason, count in left.most_common():
        click.echo(f"{count} not replayed: {reason}.", err=True)


def _reachable(letters: DeadLetters, names: dict[str, str]) -> tuple[int, dict[str, str], list[str]]:
    """Return how many dead letters can be read, in which queues, and the names of the queues that can't be
    read."""
    from app.operations.dead_letters import count

    total, unavailable = count(letters, names)
    reachable = {queue: name for queue, name in names.items() if queue not in unavailable}
    return total, reachable, [names[queue] for queue in unavailable]


def _report_unavailable(unavailable: list[str]) -> None:
    """Name the queues that could not be read, and end with exit code 1."""
    if unavailable:
        click.echo(f"Queues not read, because their node is down: {', '.join(unavailable)}.", err=True)
        sys.exit(1)


@contextmanager
def _open(queues: tuple[str, ...]) -> Iterator[tuple[DeadLetters, dict[str, str]]]:
    """The dead letters, and the queues to read: full name → name."""
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
    body = case.letter.body[:_MAX_BODY].decode("utf-8", "backslashreplace")
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
        # Text is escaped when it is printed. Other bytes are escaped here.
        "body": None if case.event else body,
    }
