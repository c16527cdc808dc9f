"""One history: run a plan, recover from all faults, finish the remaining work, and check the promises."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from tests.simulation import seams
from tests.simulation.clients import Clients
from tests.simulation.plan import Plan, make_plan
from tests.simulation.promises import broken
from tests.simulation.scheduler import START
from tests.simulation.site import Site
from tests.simulation.world import Fault, World

#: Maximum number of sweeps after recovery, until nothing is left to do.
_MAX_ROUNDS = 60

#: Number of final retries of a client, because concurrent requests may find no free slot for a gateway call.
_LAST_TRIES = 3

#: Maximum number of runs for shrinking.
_MAX_SHRINKS = 400


#: Parts that differ between messages about the same kind of problem.
_VARIABLE = re.compile(r"[0-9a-f]{8,}|[-:.0-9]+|pi_|re_|\d-\w+")

#: Maximum number of printed lines of a trace.
_MAX_TRACE_LENGTH = 150


@dataclass(frozen=True)
class Outcome:
    """The result of a history.

    Attributes:
        problems: descriptions of broken promises.
        faults: the faults that occurred.
        kinds: kinds of those faults, such as "gateway response lost".
        trace: every event, readable.
    """

    plan: Plan
    problems: tuple[str, ...]
    faults: tuple[Fault, ...]
    kinds: frozenset[str]
    trace: tuple[str, ...]


def run(plan: Plan, without: frozenset[Fault] = frozenset(), *, traced: bool = False) -> Outcome:
    """Run a plan to its end; `seams.installed` must be in force.

    Args:
        plan: what happens.
        without: faults to leave out.
        traced: whether to make the trace readable.
    """
    world = World(plan, without)
    seams.enter(world)
    site = Site(world)
    clients = Clients(site)
    for number, step in enumerate(plan.steps):
        clients.start(number, step)
    world.run()
    world.healed = True
    world.log("everything is back")
    if _comes_to_rest(site):
        _repeat_requests(site, clients)
        _comes_to_rest(site)
    dashboard = any(step.kind == "dashboard_refund" for step in plan.steps)
    if dashboard or plan.deliveries != (1,) or site.webhooks_given_up:
        # Only a reconciliation finds changes that others make at Stripe if no webhook was handled.
        site.sweep("reconcile at last", site.reconcile)
        world.run()
        _comes_to_rest(site)
    for problem in broken(site):
        world.problem(problem)
    trace = tuple(f"{one.at:12.3f} {one.actor:28} {one.text}" for one in world.trace) if traced else ()
    return Outcome(plan, tuple(world.problems), tuple(world.faults), frozenset(world.kinds), trace)


def _comes_to_rest(site: Site) -> bool:
    """Sweep until nothing is left to do. Return False if that takes too long."""
    world, ledger = site.world, site.stores.ledger
    for _ in range(_MAX_ROUNDS):
        payments = list(ledger.search(1000))
        due = [payment.recover_after for payment in payments if payment.recover_after]
        if not due and not any(payment.outbox for payment in payments):
            return True
        at = min(due, default=world.utcnow())
        world.run(until=max(world.now + 15, (at - START).total_seconds() + 1))
        site.sweep("recover at last", site.recover)
        site.sweep("publish at last", site.publish)
        world.run()
    world.problem("it does not come to rest")
    return False


def _repeat_requests(site: Site, clients: Clients) -> None:
    """Make every client with a key repeat its request after any lease."""
    world = site.world
    world.run(until=world.now + 400)
    for key, (kind, order) in clients.keys.items():
        if site.stores.claims.find(key) is None:
            continue

        def ask(key: str = key, kind: str = kind, order: object = order) -> None:
            for _ in range(_LAST_TRIES):
                response = clients.request(f"again {key}", kind, "api-1", order, key, 1000)
                if response and response.status < 500 and response.code != "IDEMPOTENCY_CONFLICT":
                    return
                world.sleep(100)
            world.problem(f"{key} is never answered")

        world.spawn(f"asks again {key}", "", ask)
    world.run()


def shrink(outcome: Outcome) -> Outcome:
    """Return the smallest history found that still breaks a promise: fewer steps, then fewer faults."""
    plan, without = outcome.plan, frozenset[Fault]()
    left = _MAX_SHRINKS

    expected = _kinds(outcome)

    def fails(plan: Plan, without: frozenset[Fault]) -> Outcome | None:
        found = run(plan, without)
        return found if expected & _kinds(found) else None

    shrunk = True
    while shrunk and left > 0:
        shrunk = False
        for step in plan.steps:
            smaller = replace(plan, steps=tuple(one for one in plan.steps if one is not step))
            left -= 1
            if found := fails(smaller, without):
                plan, outcome, shrunk = smaller, found, True
        for fault in outcome.faults:
            left -= 1
            if found := fails(plan, without | {fault}):
                without |= {fault}
                outcome, shrunk = found, True
    return run(plan, without, traced=True)


def _kinds(outcome: Outcome) -> set[str]:
    """Return the broken promises without ids of payments."""
    return {_VARIABLE.sub("", problem) for problem in outcome.problems}


def explain(outcome: Outcome) -> str:
    """Describe a failed history: its seed, the broken promises, and the shrunk trace."""
    small = shrink(outcome)
    lines = [
        f"seed {outcome.plan.seed} breaks:",
        *(f"  {problem}" for problem in outcome.problems),
        "shrunk:",
        *(f"  {problem}" for problem in small.problems),
        *(f"  {step}" for step in small.plan.steps),
        *small.trace[:_MAX_TRACE_LENGTH],
        f"again: python -m tests.simulation --seed {outcome.plan.seed}",
    ]
    return "\n".join(lines)


def run_seed(seed: int) -> Outcome:
    """Run the history of a seed."""
    return run(make_plan(seed))


def run_batch(first: int, count: int) -> list[str]:
    """Run the histories of `count` seeds starting with `first`. Return descriptions of the failures."""
    with seams.installed():
        outcomes = (run_seed(seed) for seed in range(first, first + count))
        return [explain(outcome) for outcome in outcomes if outcome.problems]
