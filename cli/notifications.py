"""`movieapp notifications`: list, show, and resend emails and SMS."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any

import click

from app.channels import ChannelName
from app.delivery_status import DeliveryStatus
from cli.listing import Listing, listing_options
from cli.options import connect, expected_failures, operator, since_option
from cli.output import fields, json_option, print_json, table

if TYPE_CHECKING:
    from datetime import datetime

    from app.models import Notification
    from app.operations.grouping import Reason

#: Heading → field of a list.
_LISTED = {
    "ID": "id",
    "STATUS": "status",
    "CHANNEL": "channel",
    "EVENT TYPE": "event_type",
    "BOOKING": "booking_id",
    "RECIPIENT": "recipient",
    "RECORDED": "created_at",
    "SENT": "sent_at",
    "ERROR": "error",
}


_REASONS = {
    "REASON": "reason",
    "STATUS": "status",
    "CHANNEL": "channel",
    "COUNT": "count",
    "RECIPIENTS": "recipients",
    "BOOKINGS": "bookings",
    "FIRST": "first",
    "LAST": "last",
}


_status_option = click.option(
    "--status",
    type=click.Choice([status.value for status in DeliveryStatus]),
    help="Only notifications with this status.",
)


@click.group()
def notifications() -> None:
    """List, show, and resend emails and SMS.

    \b
    Examples:
        movieapp notifications list --booking BOOK-123
        movieapp notifications resend 6564f1c2a1b2c3d4e5f60718
    """


@notifications.command("list")
@_status_option
@click.option(
    "--channel",
    type=click.Choice([channel.value for channel in ChannelName]),
    help="Only notifications on this channel.",
)
@click.option("--booking", "booking_id", metavar="ID", help="Only notifications about this booking.")
@click.option(
    "--recipient", metavar="ADDRESS", help="Only notifications to this email address or phone number."
)
@click.option("--event", "event_id", metavar="ID", help="Only notifications about this event.")
@click.option("--event-type", metavar="TYPE", help="Only notifications about events of this type.")
@since_option("notifications recorded")
@listing_options()
@expected_failures
def list_all(listing: Listing, **criteria: Any) -> None:
    """List notifications, newest first.

    \b
    Example:
        movieapp notifications list --status failed --since 2h
    """
    connect()
    from app.models import storage_errors
    from app.operations.notifications import Criteria, find

    with storage_errors():
        found = find(Criteria(**criteria)).exclude("event_data", "attempts").limit(listing.fetch_limit)
        listing.show(
            map(_summary, found),
            _LISTED,
            empty="No notifications match these filters.",
        )


@notifications.command()
@_status_option
@since_option("notifications recorded")
@listing_options(bounded=False)
@expected_failures
def reasons(listing: Listing, status: str | None, since: datetime | None) -> None:
    """Group notifications by reason, status, and channel.

    A reason says why notifications failed, are waiting, or were skipped. For each group, the command shows
    the number of notifications, recipients, and bookings. It also shows the times of the first and the last
    notification.

    \b
    Example:
        movieapp notifications reasons --status failed --since 12h
    """
    connect()
    from app.operations.grouping import notification_reasons

    listing.show(
        map(_reason, notification_reasons(status, since)),
        _REASONS,
        empty="No notifications match these filters.",
    )


def _reason(reason: Reason) -> dict[str, Any]:
    return {**vars(reason), "recipients": len(reason.recipients), "bookings": len(reason.bookings)}


@notifications.command()
@click.argument("notification_id", metavar="ID")
@json_option
@expected_failures
def show(notification_id: str, as_json: bool) -> None:
    """Show a notification, its event, and the reply to each attempt.

    \b
    Example:
        movieapp notifications show 6564f1c2a1b2c3d4e5f60718
    """
    connect()
    from app.models import storage_errors
    from app.operations.notifications import by_ids

    with storage_errors():
        notification = by_ids([notification_id]).get(notification_id)
    if notification is None:
        raise click.ClickException(f"No notification has the id {notification_id}.")
    details = _details(notification)
    if as_json:
        print_json(details)
    else:
        print_details(details)


@notifications.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...")
@click.option(
    "--force", is_flag=True, help="Also resend sent notifications, and send to suppressed recipients."
)
@json_option
@expected_failures
def resend(ids: tuple[str, ...], force: bool, as_json: bool) -> None:
    """Queue notifications to be sent again.

    A resent email keeps its Message-ID. The audit log names the operator. Without --force, the command
    refuses notifications that were sent or delivered, and workers send nothing to suppressed recipients. With
    --force, suppressed recipients get the notification and stay suppressed. The command always refuses a
    notification that is being sent. Exit code: 0 if every notification was queued, 1 if not.

    \b
    Example:
        movieapp notifications resend 6564f1c2a1b2c3d4e5f60718
    """
    settings = connect()
    from app.errors import Problem
    from app.messaging.broker import make_broker
    from app.messaging.dispatch import Dispatch
    from app.messaging.topology import Topology
    from app.models import storage_errors
    from app.operations import notifications as operations

    refused = {}
    with closing(make_broker(settings)) as broker:
        dispatch = Dispatch(broker, Topology.of(settings))
        for name in ids:
            # A failure must not hide which notifications are queued: repeating them with --force sends them
            # twice.
            try:
                with storage_errors():
                    reason = operations.resend(
                        name, dispatch, operator(), again=force, past_suppression=force
                    )
                outcome = f"refused: {reason}" if reason else "queued"
            except Problem as problem:
                reason = problem.message
                outcome = f"failed: {reason}"
            refused[name] = reason
            if not as_json:
                click.echo(f"{name}  {outcome}")
    if as_json:
        print_json([{"id": name, "queued": not reason, "reason": reason} for name, reason in refused.items()])
    if any(refused.values()):
        sys.exit(1)


def attempts(notification: Notification) -> list[dict[str, Any]]:
    """Return every attempt, oldest first, with the server's reply."""
    return [{"at": each.at, "outcome": each.outcome, "detail": each.detail} for each in notification.attempts]


def print_details(details: dict[str, Any]) -> None:
    """Print a record: its fields, then its `attempts` and its `event`, if it has them."""
    fields({name: value for name, value in details.items() if name not in ("attempts", "event")})
    if details["attempts"]:
        click.echo("\nAttempts:")
        table(("AT", "OUTCOME", "DETAIL"), [each.values() for each in details["attempts"]])
    if details["event"] is not None:
        click.echo("\nEvent:")
        print_json(details["event"])


def _summary(notification: Notification) -> dict[str, Any]:
    return {
        "id": str(notification.id),
        "status": notification.status,
        "channel": notification.notification_type,
        "event_type": notification.event_type,
        "booking_id": notification.booking_id,
        "recipient": notification.recipient,
        "created_at": notification.created_at,
        "sent_at": notification.sent_at,
        "error": notification.error_message,
    }


def _details(notification: Notification) -> dict[str, Any]:
    return {
        **_summary(notification),
        "event_id": notification.event_id,
        "template": notification.template,
        "subject": notification.subject,
        "message_id": notification.message_id,
        "relay": notification.relay,
        "retry_count": notification.retry_count,
        "attempts": attempts(notification),
        "event": notification.event_data,
    }
