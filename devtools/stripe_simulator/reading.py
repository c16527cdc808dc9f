"""Read one object by its id, or a list, newest first: https://docs.stripe.com/api/pagination"""

from __future__ import annotations

from collections.abc import Callable

from devtools.stripe_simulator.call import Call
from devtools.stripe_simulator.errors import StripeError
from devtools.stripe_simulator.params import Params
from devtools.stripe_simulator.store import Record

_USUAL_LIMIT, _HIGHEST_LIMIT = 10, 100

_COMPARISONS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def retrieve(kind: str) -> Callable[[Call, Params, str], Record]:
    """Return the operation that reads one object of a kind."""

    def endpoint(call: Call, _params: Params, record_id: str) -> Record:
        return call.get(kind, record_id)

    return endpoint


def listing(kind: str, *filters: str) -> Callable[[Call, Params], Record]:
    """Return the operation that reads one page of the objects of a kind.

    It takes limit, starting_after, ending_before, created (a time, or gt, gte, lt, lte) and `filters`, which
    are members of the objects.
    """

    def endpoint(call: Call, params: Params) -> Record:
        limit = params.integer("limit", least=1) or _USUAL_LIMIT
        if limit > _HIGHEST_LIMIT:
            raise StripeError(400, f"limit must be at most {_HIGHEST_LIMIT}.", param="limit")
        conditions, values = _conditions(params, kind, filters)
        after, before = params.text("starting_after"), params.text("ending_before")
        if after and before:
            raise StripeError(400, "Send either starting_after or ending_before, not both.")
        if cursor := after or before:
            call.get(kind, cursor, "starting_after" if after else "ending_before")
            side = "seq < (SELECT seq" if after else "seq > (SELECT seq"
            conditions.append(f"{side} FROM objects WHERE id = ?)")
            values.append(cursor)
        order = "ASC" if before else "DESC"
        found = call.store.select(
            f"{' AND '.join(conditions)} ORDER BY seq {order} LIMIT {limit + 1}", values
        )
        page = found[:limit]
        if before:
            page.reverse()
        return {
            "object": "list",
            "url": f"/v1/{kind.replace('.', '/')}s",
            "has_more": len(found) > limit,
            "data": page,
        }

    return endpoint


def _conditions(params: Params, kind: str, filters: tuple[str, ...]) -> tuple[list[str], list[str | int]]:
    """Return the conditions on the objects, in SQL, and their values."""
    conditions: list[str] = ["object = ?"]
    values: list[str | int] = [kind]
    for name in filters:
        if expected := params.text(name):
            conditions.append(f"json_extract(body, '$.{name}') = ?")
            values.append(expected)
    if params.is_group("created"):
        created = params.group("created")
        bounds = [(sign, created.integer(name)) for name, sign in _COMPARISONS.items()]
    else:
        bounds = [("=", params.integer("created"))]
    for sign, time in bounds:
        if time is not None:
            conditions.append(f"created {sign} ?")
            values.append(time)
    return conditions, values
