"""A simulated clock and its actors: deterministic, one greenlet at a time.

An actor yields control at every call to another system. The next actor is the one with the earliest simulated
time, which depends on random latencies. Every actor has its own seeded random numbers. So, leaving out a
fault changes only what follows from it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from typing import Any

from greenlet import GreenletExit, getcurrent, greenlet

#: Start time of every history.
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the trace."""

    at: float
    actor: str
    text: str


class Actor:
    """A client, a request in a server, a webhook delivery, or a sweep.

    Attributes:
        process: the process that it ends with; empty if it can't be killed.
        born: simulated time of its start, in seconds.
    """

    __slots__ = ("alive", "born", "calls", "greenlet", "name", "process", "random", "token")

    def __init__(self, name: str, process: str, seed: int, born: float) -> None:
        self.name = name
        self.process = process
        self.born = born
        self.random = random.Random(f"{seed}/{name}")
        self.alive = True
        self.calls = 0
        self.token = 0
        self.greenlet: Any = None


class Signal:
    """A signal that one actor waits for."""

    __slots__ = ("done", "value", "waiter")

    def __init__(self) -> None:
        self.done = False
        self.value: Any = None
        self.waiter: tuple[Actor, int] | None = None


class Scheduler:
    """Runs actors and timers in the order of their times.

    Args:
        seed: of all randomness.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        self.trace: list[Entry] = []
        self.current: Actor | None = None
        self._hub = getcurrent()
        self._queue: list[tuple[float, int, Any, int]] = []
        self._pushed = 0
        self._actors: dict[str, set[Actor]] = {}
        self._names: dict[str, int] = {}

    def utcnow(self) -> datetime:
        """The simulated time."""
        return START + timedelta(milliseconds=int(self.now * 1000))

    def log(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(Entry(self.now, self.current.name if self.current else "world", text))

    def spawn(self, name: str, process: str, act: Callable[[], None], *, after: float = 0.0) -> Actor:
        """Start an actor. A number is added to its name if the name is taken."""
        taken = self._names.get(name, 0)
        self._names[name] = taken + 1
        actor = Actor(f"{name}#{taken + 1}" if taken else name, process, self.seed, self.now + after)
        self._actors.setdefault(process, set()).add(actor)

        def run() -> None:
            try:
                act()
            finally:
                actor.alive = False
                self._actors[process].discard(actor)

        actor.greenlet = greenlet(run, self._hub)
        self._push(self.now + after, actor, actor.token)
        return actor

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` later, outside every actor. It must not wait."""
        self._push(self.now + seconds, act, 0)

    def _push(self, at: float, target: Any, token: int) -> None:
        self._pushed += 1
        heappush(self._queue, (at, self._pushed, target, token))

    def sleep(self, seconds: float) -> None:
        """Suspend the current actor."""
        actor = self.current
        if actor is None:
            raise RuntimeError("only an actor can wait")
        if not actor.alive:
            raise GreenletExit
        self._push(self.now + seconds, actor, actor.token)
        self._hub.switch()

    def wait(self, signal: Signal, timeout: float) -> bool:
        """Suspend the current actor until a signal. Return False if it does not come within `timeout`
        seconds.
        """
        actor = self.current
        if actor is None:
            raise RuntimeError("only an actor can wait")
        if not actor.alive:
            raise GreenletExit
        if not signal.done:
            signal.waiter = (actor, actor.token)
            self._push(self.now + timeout, actor, actor.token)
            self._hub.switch()
            signal.waiter = None
        return signal.done

    def set(self, signal: Signal, value: Any) -> None:
        """Set the value of a signal, once, and wake the actor that waits for it."""
        if signal.done:
            return
        signal.done, signal.value = True, value
        if signal.waiter:
            self._push(self.now, *signal.waiter)

    def kill(self, process: str) -> None:
        """End every actor of a process immediately."""
        victims = [actor for actor in self._actors.get(process, ()) if actor.alive and actor.token]
        for actor in victims:
            actor.alive = False
        own = self.current if self.current in victims else None
        self.after(0.0, lambda: self._bury([actor for actor in victims if actor is not own]))
        if own:
            raise GreenletExit

    def _bury(self, victims: list[Actor]) -> None:
        for actor in sorted(victims, key=lambda one: one.name):
            self.current = actor
            actor.greenlet.throw(GreenletExit)
        self.current = None

    def run(self, until: float = float("inf")) -> None:
        """Run until nothing is left to do, or until a time."""
        while self._queue and self._queue[0][0] <= until:
            at, _, target, token = heappop(self._queue)
            if not isinstance(target, Actor):
                self.now = max(self.now, at)
                target()
            elif target.alive and target.token == token:
                self.now = max(self.now, at)
                target.token += 1
                self.current = target
                target.greenlet.switch()
                self.current = None
        if until != float("inf"):
            self.now = max(self.now, until)
