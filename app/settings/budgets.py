"""Limits for each period, in the notation of settings: `user 9/hour 15/day`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400}
_BUDGET = re.compile(r"([1-9][0-9]{0,5})/(minute|hour|day)")

#: Value that turns limits off.
NONE = "none"


class Budget(NamedTuple):
    """At most `limit` within any `seconds`."""

    limit: int
    seconds: int


Budgets = Mapping[str, Sequence[Budget]]


def parse_budgets(text: str, kinds: Sequence[str]) -> Budgets:
    """Read `KIND COUNT/UNIT …; KIND …`, or `none`.

    Args:
        text: the setting.
        kinds: the allowed kinds. A kind that the text omits has no limit.

    Raises:
        ValueError: the text is invalid. The message shows the valid form.
    """
    budgets: dict[str, Sequence[Budget]] = {}
    for part in text.split(";") if text.strip() != NONE else ():
        kind, *limits = part.split() or [""]
        found = [_BUDGET.fullmatch(limit) for limit in limits]
        if kind not in kinds or kind in budgets or not found or None in found:
            raise ValueError(
                f"must be {NONE}, or limits such as '{kinds[0]} 9/hour 15/day; {kinds[-1]} 30/day' "
                f"(kinds, each at most once: {', '.join(kinds)}; periods: minute, hour, day)"
            )
        budgets[kind] = [Budget(int(match[1]), _SECONDS[match[2]]) for match in found if match]
    return budgets
