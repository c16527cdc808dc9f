"""`movieapp dev`: run the whole system on this machine, with nothing else installed."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import options
from cli.stack_file import StackFile

if TYPE_CHECKING:
    from types import FrameType

    from app.settings import Settings
    from devtools.stack.plan import Stack

#: Exit code of a program that Ctrl-C ended: 128 + SIGINT.
_INTERRUPTED = 130

_PORT = click.IntRange(1, 65535)


@click.command()
@click.option("--port", type=_PORT, default=8003, show_default=True, help="Port of the API.")
@click.option("--smtp-port", type=_PORT, default=1025, show_default=True, help="Port of the mail catcher.")
@click.option(
    "--inbox-port", type=_PORT, default=1080, show_default=True, help="Port of the mail catcher's web inbox."
)
@click.option("--reset", is_flag=True, help="Delete the data of earlier runs before starting.")
@click.option(
    "--data-dir", type=options.DATA_DIR_TYPE, help="Directory for the data. Overrides `movieapp --data-dir`."
)
def dev(port: int, smtp_port: int, inbox_port: int, reset: bool, data_dir: Path | None) -> None:
    """Run the whole system on this machine.

    You need no external servers, accounts, or network. The command starts Valkey (which is also the message
    broker), SecantusDB (which speaks MongoDB's protocol), a mail catcher, a Stripe simulator, the API, and a
    worker. To use your own server instead of one of these, set the server's setting in the environment or in
    .env, for example RABBITMQ_URL for the broker or MONGODB_URI for the database. Ctrl-C stops everything.
    The next run uses the same data, unless you pass --reset.

    \b
    Example:
        movieapp dev --port 8003
    """
    from app.settings import SettingsError, load_settings
    from devtools.stack import plan as stacks

    stop = _stop_on_signals()
    try:
        settings = load_settings()
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    if settings.is_gateway_live:
        raise click.ClickException(
            "PAYMENT_GATEWAY_API_KEY is a live key. Set a test key (sk_test_…) for `movieapp dev`."
        )
    missing = stacks.missing_packages()
    if missing:
        raise click.ClickException(
            f"Required packages are not installed: {', '.join(missing)}. Run: pip install 'movieapp[dev]'"
        )

    data_dir = (data_dir or options.data_dir()).absolute()
    data_dir.mkdir(parents=True, exist_ok=True)
    stack_file = StackFile(data_dir)
    if not stack_file.acquire():
        raise click.ClickException(
            f"Another `movieapp dev` uses {data_dir}. Stop that process, or choose another --data-dir."
        )
    try:
        if reset:
            _delete_data(data_dir)
        try:
            stack = stacks.plan(settings, stacks.Ports(port, smtp_port, inbox_port), data_dir)
        except stacks.PortTaken as error:
            raise click.ClickException(str(error)) from None
        sys.exit(_run(stack, stack_file, data_dir, settings, port, stop))
    finally:
        stack_file.remove()


def _run(
    stack: Stack, stack_file: StackFile, data_dir: Path, settings: Settings, port: int, stop: threading.Event
) -> int:
    """Start everything, wait until it is stopped, and return the exit code."""
    from devtools.stack.processes import ChildDied, Children, Interrupted

    logs = data_dir / "logs"
    logs.mkdir(exist_ok=True)
    children = Children(logs, stop.is_set)
    environment = {**os.environ, **stack.environment}
    click.echo("Starting movieapp …")
    try:
        children.start(stack.servers, environment)
        children.start(stack.services, environment)
        stack_file.write(stack.environment)
        click.echo(_addresses(stack, settings, port, logs))
        while not stop.wait(0.5):
            children.check()
    except Interrupted:
        click.echo("Interrupted.", err=True)
        return _INTERRUPTED
    except ChildDied as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    finally:
        stack_file.path.unlink(missing_ok=True)
        children.stop()
        click.echo("Everything is stopped.", err=True)
    return 0


def _stop_on_signals() -> threading.Event:
    stop = threading.Event()

    def handle(_signum: int, _frame: FrameType | None) -> None:
        stop.set()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, handle)
    return stop


def _delete_data(data_dir: Path) -> None:
    """Delete the stack's data, and nothing else in that directory."""
    for name in ("valkey", "mongodb", "logs"):
        shutil.rmtree(data_dir / name, ignore_errors=True)
    for pattern in ("mails.sqlite3*", "stripe.sqlite3*"):
        for path in data_dir.glob(pattern):
            path.unlink()


def _addresses(stack: Stack, settings: Settings, port: int, logs: Path) -> str:
    """Return the text to print at start: the mode, the URLs, and a payment to try."""
    api = f"http://localhost:{port}"
    booking = f"BOOK-{secrets.randbelow(10**6):06}"  # random, because a booking is paid once
    if settings.auth_required:
        access = "API keys are required; to create one, run `movieapp keys create`."
        authorization = ' -H "Authorization: Bearer mk_…"'
    else:
        access, authorization = "Everyone on this machine can use the API.", ""
    simulated = "PAYMENT_GATEWAY_URL" in stack.environment
    checkout = f"\n  Checkout   {api}/dev/checkout" if simulated else ""
    return f"""
movieapp is running in {settings.app_env} mode. {access} No real money moves.

  API        {api}
  Docs       {api}/docs
  Dashboard  {api}/dashboard{checkout}
  Templates  {api}/dev/templates
  Inbox      {stack.inbox or "none: emails go to your SMTP_SERVER"}
  Logs       {logs}

Pay for a booking:

  curl -X POST {api}/payment/process{authorization} -H "Content-Type: application/json" \\
    -d '{{"user_id":"test_user","booking_id":"{booking}","amount":25.50,"payment_method":"credit_card",\
"user_email":"jane.doe@example.com"}}'

Ctrl-C stops everything.
"""
