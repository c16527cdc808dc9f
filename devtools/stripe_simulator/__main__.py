"""`python -m devtools.stripe_simulator`: the simulator as a process of its own."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import click
from flask import Flask

from devtools.stripe_simulator.app import create_app
from devtools.stripe_simulator.server import Server, listen
from devtools.stripe_simulator.simulator import Simulator
from devtools.stripe_simulator.store import Store
from devtools.stripe_simulator.webhooks import Endpoint


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=12111, show_default=True)
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), required=True, help="SQLite file.")
@click.option("--webhook-url", help="Where events are sent; none are without it.")
@click.option("--webhook-secret", default="whsec_simulator", show_default=True, help="What signs them.")
def main(host: str, port: int, db: Path, webhook_url: str | None, webhook_secret: str) -> None:
    """Simulate the part of Stripe's API that movieapp uses.

    \b
    Example:
        python -m devtools.stripe_simulator --port 12111 --db stripe.sqlite3
    """
    if webhook_url is not None and not webhook_url.startswith(("http://", "https://")):
        raise click.BadParameter("must begin with http:// or https://", param_hint="--webhook-url")
    endpoint = Endpoint(webhook_url, webhook_secret) if webhook_url else None

    def make_app() -> Flask:
        # In the worker, after the fork: neither SQLite nor threads survive one.
        return create_app(Simulator(Store(db), endpoint))

    try:
        Store(db).close()
    except sqlite3.Error as error:
        raise click.ClickException(f"{db}: {error}") from None
    try:
        listener = listen(host, port)
    except OSError as error:
        raise click.ClickException(f"{host}:{port} can't be used ({error.strerror})") from None
    Server(listener, make_app).run()


if __name__ == "__main__":
    main()
