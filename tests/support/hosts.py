"""Hosts with separate networks, connected to this machine by cables that a test can pull.

Each host is a Linux network namespace on one bridge. `Network.reach` connects it to servers of this machine.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from tests.support.proxy import Proxy


class NotPermitted(Exception):
    """This machine does not allow network namespaces. The message gives the reason."""


class Host:
    """A host on a `Network`.

    Attributes:
        address: its IP address.
    """

    def __init__(self, name: str, address: str) -> None:
        self._name = name
        self.address = address

    def command(self, arguments: Sequence[str]) -> list[str]:
        """Return a command that runs `arguments` on the host."""
        return ["ip", "netns", "exec", self._name, *arguments]

    def pull_the_cable(self) -> None:
        """Drop every packet to and from the host. Connections are not closed."""
        _ip("link", "set", self._name, "down")

    def plug_it_in(self) -> None:
        """Connect the host again."""
        _ip("link", "set", self._name, "up")


class Network:
    """A bridge, and the hosts on it."""

    def __init__(self, running: ExitStack) -> None:
        self._running = running
        number = random.SystemRandom().randrange(1 << 14)
        self._bridge = f"mv{number:x}"
        self._prefix = f"10.{64 + (number >> 8)}.{number & 255}"
        self._hosts = 0
        _ip("link", "add", self._bridge, "type", "bridge")
        running.callback(_ip, "link", "del", self._bridge)
        _ip("address", "add", f"{self._prefix}.1/24", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def reach(self, port: int) -> str:
        """Return the address, with its port, at which hosts reach a port of this machine."""
        gateway = f"{self._prefix}.1"
        return f"{gateway}:{self._running.enter_context(Proxy(port, gateway)).port}"

    def host(self) -> Host:
        """Add a host."""
        self._hosts += 1
        name, inside = f"{self._bridge}-{self._hosts}", f"i{self._bridge}{self._hosts}"
        address = f"{self._prefix}.{self._hosts + 1}"
        _ip("netns", "add", name)
        self._running.callback(_ip, "netns", "del", name)
        _ip("link", "add", name, "type", "veth", "peer", "name", inside, "netns", name)
        _ip("link", "set", name, "master", self._bridge, "up")
        for arguments in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/24", "dev", inside),
            ("link", "set", inside, "up"),
        ):
            _ip("-netns", name, *arguments)
        return Host(name, address)


@contextmanager
def network() -> Iterator[Network]:
    """Run a network, and remove it with its hosts.

    Raises:
        NotPermitted: this machine allows none.
    """
    if os.geteuid() != 0 or not shutil.which("ip"):
        raise NotPermitted("network namespaces need root and iproute2")
    with ExitStack() as running:
        try:
            created = Network(running)
        except subprocess.CalledProcessError as error:
            raise NotPermitted(error.stderr.strip()) from None
        yield created


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True, timeout=10)
