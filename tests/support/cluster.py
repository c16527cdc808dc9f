"""A cluster of RabbitMQ nodes on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.servers import RabbitServer
from tests.support.wait import wait_for

_COOKIE = "cookie-of-a-test-cluster"


class ClusterNode(RabbitServer):
    """A node that finds the others through the port mapper of the first.

    Args:
        directory: its own.
        first: the node that it joins; None: it is the first.
    """

    def __init__(self, directory: Path, first: ClusterNode | None = None) -> None:
        super().__init__(directory)
        self._first = first
        if first:
            self._epmd = first._epmd
        cookie = directory / ".erlang.cookie"
        cookie.write_text(_COOKIE)
        cookie.chmod(0o400)

    @property
    def name(self) -> str:
        return self.environment()["RABBITMQ_NODENAME"]

    def start(self) -> None:
        if self._first is None:
            super().start()
        else:  # the port mapper is already running
            super(RabbitServer, self).start()

    def _has_exited(self) -> None:
        if self._first is None:
            super()._has_exited()
        else:
            super(RabbitServer, self)._has_exited()

    def join(self) -> None:
        """Join the first node's cluster."""
        assert self._first
        self.control("stop_app")
        self.control("join_cluster", self._first.name)
        self.control("start_app")
        wait_for(self.ready, 60, "the node did not come back after it joined")


@contextmanager
def cluster(directory: Path, size: int = 3) -> Iterator[list[ClusterNode]]:
    """Run a cluster of `size` nodes. The first one must not be killed: the others use its port mapper."""
    nodes: list[ClusterNode] = []
    with ExitStack() as running:
        for number in range(size):
            own = directory / f"node{number}"
            own.mkdir(parents=True)
            node = ClusterNode(own, nodes[0] if nodes else None)
            node.start()
            running.callback(node.stop)
            if nodes:
                node.join()
            nodes.append(node)
        yield nodes
