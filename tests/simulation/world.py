"""State shared by all systems in a history: time, faults, processes, and data for the checks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.errors import ServiceUnavailable, Unacknowledged
from tests.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from tests.simulation.plan import Plan

#: A fault: the actor and the number of its call.
Fault = tuple[str, int]


class World(Scheduler):
    """Time, randomness, and faults of one history.

    Args:
        plan: what happens.
        without: faults to leave out, for shrinking.
    """

    def __init__(self, plan: Plan, without: frozenset[Fault] = frozenset()) -> None:
        super().__init__(plan.seed)
        self.plan = plan
        self.ids = random.Random(f"{plan.seed}/ids")
        self.faults: list[Fault] = []
        self.kinds: set[str] = set()
        self.problems: list[str] = []
        self.healed = False
        self.gateway_down_until = 0.0
        self.database_down_until = 0.0
        #: Process → callback after it was killed.
        self.restart: Callable[[str], None] = lambda _process: None
        self._without = without

    def problem(self, text: str) -> None:
        """Record a broken promise."""
        self.log(f"BROKEN: {text}")
        self.problems.append(text)

    def token_hex(self, nbytes: int = 16) -> str:
        """Return a random id, instead of `secrets.token_hex`."""
        return f"{self.ids.getrandbits(8 * nbytes):0{2 * nbytes}x}"

    def fault(self, system: str) -> tuple[str | None, float]:
        """Return the fault of the current actor's next call, and a random number for its severity.

        Every call draws as often, so that leaving a fault out changes no later draw.
        """
        actor = self.current
        if actor is None:
            raise RuntimeError("only actors make calls")
        number, actor.calls = actor.calls, actor.calls + 1
        chance, choice, degree = actor.random.random(), actor.random.random(), actor.random.random()
        kinds = self.plan.faults.get(system, ())
        if self.healed or not kinds or chance >= self.plan.fault_rate:
            return None, degree
        if (actor.name, number) in self._without:
            return None, degree
        kind = kinds[int(choice * len(kinds))]
        if kind.startswith("killed") and not actor.process:
            return None, degree
        self.faults.append((actor.name, number))
        self.kinds.add(f"{system} {kind}")
        self.log(f"FAULT {number}: {system} {kind}")
        return kind, degree

    def crash(self) -> None:
        """Kill the current actor's process, and restart it immediately without memory."""
        process = self.current.process if self.current else ""
        self.restart(process)
        self.kill(process)

    def database(self, name: str, writes: bool, call: Callable[..., Any], args: Any, options: Any) -> Any:
        """Call a method of a store as if it were in another process."""
        fault, degree = self.fault("write" if writes else "read")
        self.sleep(0.0005 + 0.003 * degree)
        if fault == "killed before":
            self.crash()
        if fault == "paused before":
            self.sleep(60 + 300 * degree)
        if self.now < self.database_down_until and not self.healed:
            self.sleep(min(5.0, self.database_down_until - self.now))
            self.log(f"database {name}: unavailable")
            raise ServiceUnavailable("The database is unavailable.")
        if fault == "refused":
            raise ServiceUnavailable("The database is unavailable.")
        result: Any = None
        try:
            result = call(*args, **options)
        finally:
            if fault or (writes and (result or not name.startswith("claim"))):
                self.log(f"database {name} {_names(args)}")
            if fault == "killed after":
                self.crash()
            if fault == "unacknowledged":
                self.sleep(5 * degree)
                raise Unacknowledged("The database did not acknowledge the request.")
        if fault == "paused after":
            self.sleep(60 + 300 * degree)
        return result


def _names(args: Any) -> str:
    return " ".join(str(getattr(one, "id", one))[:24] for one in args)
