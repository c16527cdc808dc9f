"""The SDK's form encoding: `metadata[id]=1&expand[0]=latest_charge`, decoded into nested dicts.

Source: https://docs.stripe.com/api (form-encoded bodies) and what the SDKs send.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from devtools.stripe_simulator.errors import StripeError

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def decode(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Nest form fields. Lists, sent as `x[]=` or `x[0]=`, become dicts by position.

    Raises:
        StripeError: a name is malformed, or is a value and a group at once.
    """
    root: dict[str, Any] = {}
    for name, value in pairs:
        match = _NAME.fullmatch(name)
        if match is None:
            raise StripeError(400, f"Invalid parameter name: {name}", param=name)
        first, rest = match.groups()
        *groups, last = [first, *re.findall(r"\[([^\[\]]*)\]", rest)]
        node = root
        for group in groups:
            node = node.setdefault(group, {})
            if not isinstance(node, dict):
                raise StripeError(400, f"Invalid object: {name}", param=first)
        # An empty bracket means the next position.
        node[last or str(len(node))] = value
    return root


def without_card_number(params: dict[str, Any]) -> dict[str, Any]:
    """Return `params` as they may be stored: the last four digits of a card's number, and no CVC."""
    kept: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, dict):
            kept[name] = without_card_number(value)
        elif name == "number":
            kept[name] = value[-4:]
        elif name != "cvc":
            kept[name] = value
    return kept
