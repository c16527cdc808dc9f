"""`movieapp worker`: run Dramatiq with this project's actors."""

from __future__ import annotations

import os
import sys

import click

from cli.options import command_settings

#: Milliseconds that a stopping worker may take to finish what is in hand. With what comes after, it ends
#: within the 30 seconds that orchestrators leave before they kill.
_SHUTDOWN_MS = 20_000

#: Milliseconds between two looks at an idle queue on Redis; RabbitMQ pushes.
_REDIS_POLL_MS = 100


@click.command()
@click.option("--processes", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@click.option(
    "--threads", type=click.IntRange(1, 64), default=8, show_default=True, help="Threads for each process."
)
@click.option("--queues", multiple=True, metavar="QUEUE", help="Only these queues; may be repeated.")
def worker(processes: int, threads: int, queues: tuple[str, ...]) -> None:
    """Turn events into emails and SMS, and run the sweeps.

    \b
    Example:
        movieapp worker --processes 2 --threads 8
    """
    from app.settings import Broker

    settings = command_settings()
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
