"""Find the changes in a `booking.updated` event that the customer must know."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.events.times import read_time

#: Name of a change → its fields. Customers are not notified of changes to other fields.
_MATERIAL = {
    "showtime": ("showtime",),
    "cinema": ("cinema_name", "cinema_address"),
    "screen": ("screen",),
    "seats": ("seats",),
}


@dataclass(frozen=True)
class Change:
    """One change.

    Attributes:
        name: showtime, cinema, screen, or seats.
        old: the fields as they were, without those that were absent.
        new: the fields as they are.
    """

    name: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]


def material_changes(event: Mapping[str, Any]) -> Iterator[Change]:
    """Yield the differences between an event and its `previous`, the most important first.

    Another notation of the same time is not a change, nor are the same seats in another order.
    """
    previous: Mapping[str, Any] = event.get("previous") or {}
    for name, fields in _MATERIAL.items():
        changed = [field for field in fields if field in previous]
        old = {field: previous[field] for field in changed}
        new = {field: event.get(field) for field in changed}
        if any(_meaning(event, field, old[field]) != _meaning(event, field, new[field]) for field in changed):
            # The whole cinema is shown, even if only its address has changed.
            yield Change(name, _known({**event, **previous}, fields), _known(event, fields))


def differ_materially(state: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two states of a booking differ in a field that customers are notified of."""
    names = [name for fields in _MATERIAL.values() for name in fields]
    return any(
        _meaning(state, name, state.get(name) or None) != _meaning(other, name, other.get(name) or None)
        for name in names
    )


def _known(source: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {field: source[field] for field in fields if source.get(field) not in (None, "")}


def _meaning(event: Mapping[str, Any], field: str, value: Any) -> Any:
    if field == "showtime" and isinstance(value, str):
        return read_time(value, event.get("timezone")).instant or value
    if isinstance(value, list):
        return sorted(map(str, value))
    return value
