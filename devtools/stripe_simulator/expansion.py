"""`expand[]`: ids replaced by their objects. https://docs.stripe.com/api/expanding_objects"""

from __future__ import annotations

from typing import Any

from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.store import Record, Store

#: Members that hold an id or, expanded, the object.
_EXPANDABLE = frozenset({"latest_charge", "payment_method", "payment_intent", "charge"})


def expand(store: Store, record: Record, paths: list[str]) -> Record:
    """Return a copy of `record` with the members that `paths` name expanded, such as `data.latest_charge`.

    Raises:
        StripeError: a path does not exist.
    """
    for path in paths:
        record = _expanded(store, record, path.split("."), path)
    return record


def _expanded(store: Store, record: Record, members: list[str], path: str) -> Record:
    member, *rest = members
    value: Any = record.get(member)
    if member == "data" and rest and record["object"] == "list":
        return record | {"data": [_expanded(store, found, rest, path) for found in value]}
    if member not in _EXPANDABLE or member not in record:
        raise StripeError(400, f"This property cannot be expanded ({path}).", param="expand")
    if isinstance(value, str):
        value = store.get(value)
    if rest and value is not None:
        value = _expanded(store, value, rest, path)
    return record | {member: value}
