"""The plan of a history, drawn from its seed: actions, their times, and possible faults."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: System → faults of a call to it.
FAULTS: dict[str, tuple[str, ...]] = {
    "read": ("refused", "killed before", "paused before", "paused after"),
    "write": (
        "refused",
        "unacknowledged",
        "unacknowledged",
        "killed before",
        "killed after",
        "paused before",
        "paused after",
    ),
    "gateway": (
        "unreachable",
        "rate limited",
        "unauthorized",
        "request lost",
        "response lost",
        "request delayed",
        "slow",
        "stored error before",
        "stored error after",
        "killed before",
        "killed after",
        "paused before",
        "paused after",
    ),
    "gateway_read": ("unreachable", "rate limited", "response lost", "slow", "killed after", "paused after"),
    "broker": ("refused", "unacknowledged", "killed before", "killed after", "paused after"),
}

_METHODS = (
    "pm_succeeds",
    "pm_succeeds",
    "pm_succeeds",
    "pm_declined",
    "pm_authenticates",
    "pm_processes",
    "element",
)


@dataclass(frozen=True)
class Step:
    """An action of a user or an application.

    Attributes:
        at: seconds since the start.
        kind: the action: see `clients.Clients`.
        options: details of it.
    """

    at: float
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        details = " ".join(f"{name}={value}" for name, value in self.options.items())
        return f"{self.at:10.3f} {self.kind} {details}"


@dataclass(frozen=True)
class Plan:
    """The plan of a history.

    Attributes:
        seed: of everything random.
        steps: who does what and when.
        fault_rate: probability that a call fails.
        faults: system → possible faults of its calls in this history.
        deliveries: possible numbers of deliveries of an event; each event draws one.
        webhook_delay: maximum delay of a webhook, in units of 0.2 s.
        clock_skew: seconds that Stripe's clock is ahead.
        refunds_vary: whether refunds may be pending or fail.
    """

    seed: int
    steps: tuple[Step, ...]
    fault_rate: float
    faults: Mapping[str, tuple[str, ...]]
    deliveries: tuple[int, ...]
    webhook_delay: float
    clock_skew: float
    refunds_vary: bool


def make_plan(seed: int) -> Plan:
    """Return the plan of a seed."""
    draw = random.Random(f"{seed}/plan")
    gap = draw.choice((0.05, 2, 30, 60, 400, 6000))
    bookings = draw.choice((1, 1, 1, 2))
    steps = []
    at = 0.0
    for number in range(draw.randint(2, 7)):
        kind = "pay" if number == 0 else _kind(draw)
        steps.append(Step(round(at, 3), kind, _options(draw, kind, bookings)))
        at += gap * draw.random() * 2
    steps += [
        Step(round(draw.random() * (at + 300), 3), kind)
        for kind in ("recover", "publish")
        for _ in range(draw.randint(1, 5))
    ]
    if draw.random() < 0.25:
        lasts = 10 * 10_000 ** draw.random()
        steps.append(Step(round(draw.random() * at, 3), "gateway_down", {"seconds": round(lasts)}))
    if draw.random() < 0.15:
        lasts = 5 * 200 ** draw.random()
        steps.append(Step(round(draw.random() * at, 3), "database_down", {"seconds": round(lasts)}))
    # A few kinds of faults at a time find more defects than all together.
    share = draw.choice((0.3, 0.6, 1.0))
    return Plan(
        seed=seed,
        steps=tuple(sorted(steps, key=lambda step: step.at)),
        fault_rate=draw.choice((0.0, 0.02, 0.05, 0.1, 0.2)),
        faults={
            system: tuple(kind for kind in kinds if draw.random() < share) for system, kinds in FAULTS.items()
        },
        deliveries=draw.choice(((0,), (1,), (0, 1, 1, 2, 3))),
        webhook_delay=draw.choice((5.0, 50_000.0)),
        clock_skew=draw.choice((0, 0, -90, 90)),
        refunds_vary=draw.random() < 0.6,
    )


def _kind(draw: random.Random) -> str:
    kinds = {
        "pay": 6,
        "refund": 5,
        "cancel": 2,
        "status": 2,
        "reconcile": 1,
        "foreign": 1,
        "dashboard_refund": 0.5,
        "stray_charge": 0.7,
    }
    return draw.choices(tuple(kinds), tuple(kinds.values()))[0]


def _options(draw: random.Random, kind: str, bookings: int) -> dict[str, Any]:
    options: dict[str, Any] = {"booking": f"BOOK-{draw.randrange(bookings)}"}
    if kind in ("pay", "refund", "cancel"):
        options |= {
            "key": draw.random() < 0.7,
            "tries": draw.randint(1, 4),
            "patience": draw.choice((2, 15, 60, 150)),
            "pause": draw.choice((0.1, 5, 60, 100, 400)),
        }
    if kind == "pay":
        options |= {"method": draw.choice(_METHODS), "replace_open": draw.random() < 0.2}
        # Stripe refuses the second amount.
        options["amount"] = draw.choices(("25.00", "0.10"), (19, 1))[0]
        options["customer"] = draw.choice(("confirms", "fails", "fails, then confirms", "leaves"))
        options["customer_delay"] = round(1 * 8000 ** draw.random(), 1)
    if kind == "refund":
        options["amount"] = draw.choice((None, None, "5.00", "10.00", "20.00"))
    if kind == "foreign":
        options["copies"] = draw.choice(("namespace", "amount", "booking", "currency"))
    return options
