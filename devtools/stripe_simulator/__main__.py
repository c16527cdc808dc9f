"""`python -m devtools.stripe_simulator`: run the simulator under gunicorn."""

from __future__ import annotations

import os
import socket
import sqlite3
import sys
from pathlib import Path

import click

from devtools.stripe_simulator.store import Store


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=12111, show_default=True)
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), required=True, help="SQLite file.")
@click.option("--webhook-url", default="", help="Where to send events. Without it, none are sent.")
@click.option("--webhook-secret", default="whsec_simulator", show_default=True, help="Signs the events.")
def main(host: str, port: int, db: Path, webhook_url: str, webhook_secret: str) -> None:
    """Simulate the part of Stripe's API that movieapp uses.

    \b
    Example:
        python -m devtools.stripe_simulator --port 12111 --db stripe.sqlite3
    """
    if webhook_url and not webhook_url.startswith(("http://", "https://")):
        raise click.BadParameter("must be an http:// or https:// URL.", param_hint="--webhook-url")
    # gunicorn would retry a port in use for seconds, and report a database's error with a traceback.
    try:
        Store(db).close()
    except sqlite3.Error as error:
        raise click.ClickException(f"{db}: {error}") from None
    try:
        # Bound but not listening, so that clients that wait for the simulator do not connect yet.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise click.ClickException(
            f"Cannot listen on {host}:{port} ({os.strerror(error.errno or 0)}). Choose another --port."
        ) from None
    app = f"devtools.stripe_simulator.app:open_app({str(db)!r}, {webhook_url!r}, {webhook_secret!r})"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:devtools.stripe_simulator.gunicorn_conf"]
    os.execv(sys.executable, [*command, "--bind", f"{host}:{port}", app])  # noqa: S606 - no shell needed


if __name__ == "__main__":
    main()
