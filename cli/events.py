"""`movieapp events`: print samples, validate events, and publish them."""

from __future__ import annotations

from contextlib import closing
from typing import IO

import click

from cli.options import command_settings, expected_failures
from cli.output import json_option, print_json

_SAMPLE_TYPES = (
    "booking.confirmed",
    "booking.confirmed.minimal",
    "booking.updated",
    "booking.cancelled",
    "booking.refunded",
    "payment.success",
    "payment.failed",
    "payment.refund",
    "payment.canceled",
    "payment.disputed",
)

_event_file = click.argument("file", type=click.File("rb"))


@click.group()
def events() -> None:
    """Print sample events, and validate and publish events.

    \b
    Example:
        movieapp events sample payment.failed --new-id | movieapp events publish -
    """


@events.command()
@click.argument("name", metavar="TYPE", type=click.Choice(_SAMPLE_TYPES))
@click.option(
    "--new-id",
    is_flag=True,
    help="Use a new event_id. Workers ignore an event whose event_id they have already handled.",
)
@click.option("--to", metavar="ADDRESS", help="Email address of the recipient (user_email).")
def sample(name: str, new_id: bool, to: str | None) -> None:
    """Print a sample event of TYPE.

    TYPE is an event type, such as booking.confirmed. For a booking.confirmed event without optional fields,
    pass booking.confirmed.minimal.

    \b
    Example:
        movieapp events sample payment.success --new-id --to jane.doe@example.com
    """
    from app.events.samples import sample as sample_event
    from app.ids import new_id as make_id

    event = sample_event(name)
    if new_id:
        event["event_id"] = make_id("evt_")
    if to:
        event["user_email"] = to
    print_json(event)


@events.command()
@_event_file
@json_option
def validate(file: IO[bytes], as_json: bool) -> None:
    """Validate the event in FILE with the same checks as the worker.

    Pass - as FILE to read standard input. Exit code: 0 if the event is valid, 1 if not.

    \b
    Example:
        movieapp events validate event.json
    """
    from app.events.decode import InvalidEvent
    from cli.event_file import read_event, warnings

    try:
        event = read_event(file)
    except InvalidEvent as error:
        if as_json:
            print_json({"valid": False, "reason": str(error)})
        else:
            click.echo(f"The event is invalid: {error}", err=True)
        raise click.exceptions.Exit(1) from None
    found = warnings(event)
    if as_json:
        ids = {name: event[name] for name in ("event_id", "event_type")}
        print_json({"valid": True, **ids, "warnings": found})
    else:
        click.echo(f"{event['event_id']} is a valid {event['event_type']}.")
        for warning in found:
            click.echo(f"Warning: {warning}.", err=True)


@events.command()
@_event_file
@expected_failures
def publish(file: IO[bytes]) -> None:
    """Validate and publish the event in FILE.

    Pass - as FILE to read standard input.

    \b
    Example:
        movieapp events publish event.json
    """
    settings = command_settings()
    from app.events.decode import InvalidEvent
    from app.messaging.publisher import OutgoingEvent, PublishError, make_publisher
    from app.messaging.wire import dumps
    from cli.event_file import read_event

    try:
        event = read_event(file)
    except InvalidEvent as error:
        raise click.ClickException(f"The event is invalid: {error}") from None
    with closing(make_publisher(settings)) as publisher:
        try:
            publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], dumps(event)))
        except PublishError as error:
            raise click.ClickException(f"The event was not published: {error}") from None
    click.echo(f"{event['event_id']} is published.")
