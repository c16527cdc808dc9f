"""`movieapp worker`: run Dramatiq with this project's actors."""

from __future__ import annotations

import os
import sys

import click

from cli.options import command_settings, refuse_unsupported_servers

#: Milliseconds for a stopping worker to finish its current messages. In total, it stops within the 30 seconds
#: that orchestrators wait before they kill it.
_SHUTDOWN_MS = 20_000

#: Milliseconds between two polls of an idle queue on Redis. RabbitMQ pushes messages.
_REDIS_POLL_MS = 100


@click.command()
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of worker processes.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Number of threads for each process.",
)
@click.option(
    "--queues",
    multiple=True,
    metavar="QUEUE",
    help="Consume only this queue (repeatable).  [default: all queues]",
)
def worker(processes: int, threads: int, queues: tuple[str, ...]) -> None:
    """Send emails and SMS for events, and run periodic tasks.

    Periodic tasks include looking up payments whose outcome is unknown, publishing stored events, carrying
    out bulk refunds, and queuing overdue emails and SMS again.

    \b
    Example:
        movieapp worker --processes 2 --threads 8
    """
    from app.settings import Broker

    settings = command_settings()
    refuse_unsupported_servers(settings, queues=True)
    if settings.broker is Broker.REDIS:
        # Dramatiq reads it when it is imported.
        os.environ.setdefault("dramatiq_worker_timeout", str(_REDIS_POLL_MS))
    from app.telemetry import logs, multiprocess

    logs.configure("notification-service", settings.log_level)
    directory = multiprocess.begin()
    import dramatiq.cli

    arguments = ["actors.worker", "--skip-logging", "--worker-shutdown-timeout", str(_SHUTDOWN_MS)]
    arguments += ["--processes", str(processes), "--threads", str(threads)]
    if queues:
        arguments += ["--queues", *(settings.namespace + queue for queue in queues)]
    if settings.worker_metrics_bind != "none":
        arguments += ["--fork-function", "actors.metrics:serve"]
    try:
        sys.exit(dramatiq.cli.main(dramatiq.cli.make_argument_parser().parse_args(arguments)))
    finally:
        multiprocess.end(directory)
