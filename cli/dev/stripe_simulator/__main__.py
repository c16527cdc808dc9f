"""`python -m cli.dev.stripe_simulator`: the simulator under gunicorn, one process, many threads."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import click
from gunicorn.app.base import BaseApplication

from cli.dev.stripe_simulator.app import create_app
from cli.dev.stripe_simulator.simulator import Simulator
from cli.dev.stripe_simulator.store import Store
from cli.dev.stripe_simulator.webhooks import Webhooks

_OPTIONS = {
    "workers": 1,
    "worker_class": "gthread",
    "threads": 64,
    "keepalive": 75,
    "timeout": 0,
    "graceful_timeout": 1,
    "loglevel": "critical",
    "control_socket_disable": True,
}


class _Server(BaseApplication):  # type: ignore[misc] # gunicorn ships no types
    def __init__(self, bind: str, make: Any) -> None:
        self._bind = bind
        self._make = make
        super().__init__()

    def load_config(self) -> None:
        for name, value in {**_OPTIONS, "bind": self._bind}.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        return self._make()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", type=click.IntRange(1, 65535), default=12111, show_default=True)
@click.option("--db", type=click.Path(dir_okay=False, path_type=Path), required=True, help="SQLite file.")
@click.option("--webhook-url", help="Where events go; none are sent without it.")
@click.option("--webhook-secret", default="whsec_simulator", show_default=True)
def main(host: str, port: int, db: Path, webhook_url: str | None, webhook_secret: str) -> None:
    """Simulate the part of Stripe's API that movieapp uses."""

    def make() -> Any:
        # In the worker, after the fork: neither SQLite nor a thread survives one.
        webhooks = Webhooks(webhook_url, webhook_secret) if webhook_url else None
        on_event = webhooks.submit if webhooks else lambda _event: None
        return create_app(Simulator(Store(db), f"http://{host}:{port}", on_event))

    try:
        sqlite3.connect(db).close()
    except sqlite3.Error as error:
        raise click.ClickException(f"{db}: {error}") from None
    _Server(f"{host}:{port}", make).run()


if __name__ == "__main__":
    main()
