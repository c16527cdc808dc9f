"""`movieapp serve`: the API under gunicorn."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import click

from cli.options import command_settings, expected_failures, refuse_unsupported_servers

if TYPE_CHECKING:
    from app.settings import Settings

#: Default address and number of processes of the API.
BIND, WORKERS = "127.0.0.1:8003", 2


def listeners(bind: str, settings: Settings) -> list[str]:
    """Return the addresses to listen on: `bind` for the API, and METRICS_BIND for /metrics.

    METRICS_BIND is left out if it can't be used, for example by a second API on one machine. Otherwise
    gunicorn would not start, although payments do not need metrics.
    """
    if settings.metrics_bind == "none" or unusable_reason(settings.metrics_bind):
        return [bind]
    return [bind, settings.metrics_bind]


def unusable_reason(address: str) -> str | None:
    """Return why HOST:PORT can't be used; None if it can."""
    host, _, port = address.rpartition(":")
    try:
        # Bound but not listening, so that a load balancer does not mistake it for the service.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, int(port)))
    except (OSError, OverflowError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None


def _must_have_keys(settings: Settings) -> None:
    from app import models
    from app.keys.store import list_keys

    models.connect(settings)
    if all(key.revoked_at for key in list_keys()):
        raise click.ClickException("No valid API key exists. Create one with `movieapp keys create`.")


@click.command()
@click.option(
    "--bind", default=BIND, show_default=True, metavar="HOST:PORT", help="Address and port to listen on."
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=WORKERS, show_default=True, help="Number of processes."
)
@click.option(
    "--threads",
    type=click.IntRange(4, 256),
    help="Number of threads for each process.  [default: WEB_THREADS]",
)
# `movieapp dev` serves more than the API.
@click.option("--app", default="wsgi:app", hidden=True)
@expected_failures
def serve(bind: str, workers: int, threads: int | None, app: str) -> None:
    """Run the payment API.

    \b
    Example:
        movieapp serve --bind 0.0.0.0:8003 --workers 4
    """
    if threads:
        os.environ["WEB_THREADS"] = str(threads)
    settings = command_settings()
    refuse_unsupported_servers(settings)
    if settings.app_env == "production":
        _must_have_keys(settings)
    arguments = ["-c", "python:cli.gunicorn_conf", "--workers", str(workers)]
    if bind.rpartition(":")[2] == settings.metrics_bind.rpartition(":")[2]:
        raise click.ClickException("METRICS_BIND: must use a different port than the API")
    for listener in listeners(bind, settings):
        arguments += ["--bind", listener]
    arguments.append(app)
    os.execv(sys.executable, [sys.executable, "-m", "gunicorn", *arguments])  # noqa: S606 - no shell wanted
