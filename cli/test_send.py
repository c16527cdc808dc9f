"""`movieapp test-send`: send a sample mail, directly to the SMTP server or through the queues."""

from __future__ import annotations

from contextlib import closing
from typing import IO, Any

import click

from cli.options import command_settings, template_argument


@click.command("test-send")
@template_argument
@click.option("--to", "recipient", metavar="ADDRESS", required=True, help="Email address of the recipient.")
@click.option(
    "--data",
    type=click.File("rb"),
    help="Read the event as JSON from this file, or from standard input if FILENAME is -.  [default: a full "
    "sample]",
)
@click.option("--via-queue", is_flag=True, help="Publish the event, so that a worker sends the email.")
def test_send(template: str, recipient: str, data: IO[bytes] | None, via_queue: bool) -> None:
    """Send a sample email, rendered from TEMPLATE.

    `templates list` shows the names of the templates.

    \b
    Example:
        movieapp test-send payment_success --to jane.doe@example.com
    """
    from app.telemetry import logs

    settings = command_settings()
    logs.configure("movieapp-cli", "CRITICAL")  # this command reports a failure in one line
    from actors.channels.email.channel import EmailChannel
    from actors.channels.email.render import TEMPLATES
    from actors.errors import DeliveryError
    from app.channels import ChannelName
    from app.messaging.publisher import OutgoingEvent, PublishError, make_publisher
    from app.messaging.wire import dumps
    from app.models import Notification

    if template not in TEMPLATES:
        raise click.UsageError(f"Unknown template {template}. Use one of {', '.join(TEMPLATES)}.")
    event = _event(template, recipient, data)
    try:
        if via_queue:
            with closing(make_publisher(settings)) as publisher:
                publisher.publish(OutgoingEvent(event["event_id"], event["event_type"], dumps(event)))
            click.echo(f"{event['event_id']} is published. A worker sends the email.")
            return
        with closing(EmailChannel(settings, connect_wait_seconds=None)) as channel:
            delivery = Notification(
                event_id=event["event_id"],
                event_type=event["event_type"],
                notification_type=ChannelName.EMAIL,
                recipient=recipient,
                template=template,
                event_data=event,
            )
            sent = channel.send(delivery)
    except PublishError as error:
        raise click.ClickException(f"The event was not published: {error}") from None
    except DeliveryError as error:
        hint = " (to see each step, run movieapp smtp-check)" if error.phase else ""
        raise click.ClickException(f"{error}{hint}") from None
    click.echo(f"Accepted by {settings.smtp_server}: {sent['subject']} ({sent['message_id']})")


def _event(template: str, recipient: str, data: IO[bytes] | None) -> dict[str, Any]:
    from actors.channels.email.samples import sample
    from app.events.decode import InvalidEvent
    from app.ids import new_id
    from cli.event_file import read_event

    try:
        event = read_event(data) if data else sample(template)
    except InvalidEvent as error:
        raise click.ClickException(str(error)) from None
    return event | {"event_id": new_id("evt_"), "user_email": recipient}
