"""Mailers for comparison: a minimal loop, and a typical consumer.

python -m benchmarks.mailers floor 500 2525            # renders, and keeps one connection; no broker, no log
python -m benchmarks.mailers consumer URL QUEUE 2525   # opens a connection for each mail
"""

from __future__ import annotations

import json
import smtplib
import sys
import time
from datetime import UTC, datetime
from typing import Any

import pika

from actors.channels.email.compose import compose
from actors.channels.email.render import Brand, Renderer
from actors.channels.email.samples import sample

ADDRESS = "tickets@movieapp.example.com"
HOST = "127.0.0.1"

_renderer = Renderer(Brand("MovieApp", ADDRESS), "USD")


def ticket(number: int | str) -> dict[str, Any]:
    """Return an event, with an id of its own, for the ticket mail, which has a QR code and a calendar
    file.
    """
    named = {"event_id": f"evt_bench_{number}", "booking_id": f"BOOK-{number}"}
    return sample("booking_confirmation") | named | {"event_type": "booking.confirmed"}


def _mail(event: dict[str, Any]) -> tuple[str, str, bytes]:
    mail = compose(
        _renderer.render("booking_confirmation", event),
        recipient=event["user_email"],
        sender=("MovieApp", ADDRESS),
        message_id=f"<{event['event_id']}@movieapp.example.com>",
        date=datetime.now(UTC),
    )
    return mail.envelope_from, mail.envelope_to, mail.as_bytes()


def floor(mails: int, port: int) -> None:
    """Print the mails a second that a loop renders and sends after a warm-up."""
    with smtplib.SMTP(HOST, port) as connection:
        for number in range(20):
            connection.sendmail(*_mail(ticket(f"warm-{number}")))
        started = time.monotonic()
        for number in range(mails):
            connection.sendmail(*_mail(ticket(number)))
        print(mails / (time.monotonic() - started))


def consumer(url: str, queue: str, port: int) -> None:
    """Send a mail for each message of a queue, until killed."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.basic_qos(prefetch_count=16)
    for method, _, body in channel.consume(queue):
        with smtplib.SMTP(HOST, port) as connection:
            connection.sendmail(*_mail(json.loads(body)))
        channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["floor", mails, port]:
            floor(int(mails), int(port))
        case ["consumer", url, queue, port]:
            consumer(url, queue, int(port))
        case _:
            sys.exit(__doc__)
