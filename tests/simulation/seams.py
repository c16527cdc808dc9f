"""Replace the program's time and randomness while histories run."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import structlog

from app import clock
from app.gateway.stripe import client
from app.payments import looks
from tests.simulation.world import World


class _Current:
    """Delegates to the world of the running history."""

    world: World

    def monotonic(self) -> float:
        return self.world.now

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)

    def uniform(self, least: float, most: float) -> float:
        return (least + most) / 2

    def token_hex(self, nbytes: int = 16) -> str:
        return self.world.token_hex(nbytes)


_current = _Current()


@contextmanager
def installed() -> Iterator[None]:
    """Make the program use the time and randomness of the current world, and log nothing."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL), cache_logger_on_first_use=False
    )
    try:
        with (
            mock.patch.object(clock, "source", lambda: _current.world.utcnow()),
            mock.patch.object(client, "time", _current),
            mock.patch.object(looks, "time", _current),
            mock.patch.object(client, "random", _current),
            mock.patch.object(secrets, "token_hex", _current.token_hex),
        ):
            yield
    finally:
        structlog.configure(**before)


def enter(world: World) -> None:
    """Make a world the current one."""
    _current.world = world
