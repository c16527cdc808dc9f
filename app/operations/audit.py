"""The audit log: which operator did what, when, and to what.

Every action of an operator, on the command line and in the dashboard, is recorded before it is carried out.
An action that can't be recorded is not carried out. The result is in the record of its target: a
payment's history, a notification's attempts.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from app.clock import utcnow
from app.models import OperatorAction, storage_errors, storage_writes

if TYPE_CHECKING:
    from app.models import ApiKey

#: Maximum stored characters of a name, an id, or a detail.
_MAX_LENGTH = 500


class Surface(StrEnum):
    """Where an operator acts."""

    CLI = "cli"
    DASHBOARD = "dashboard"


@dataclass(frozen=True)
class Operator:
    """Who acts.

    Attributes:
        name: `user@host` on the command line, the API key's name in the dashboard.
        surface: where the operator acts.
        key_id: id of the API key; None on the command line, and if the dashboard needs no key.
    """

    name: str
    surface: Surface
    key_id: str | None = None

    @classmethod
    def at_command_line(cls) -> Operator:
        """Return this process's user; under sudo, the user who called it."""
        try:
            user = os.environ.get("SUDO_USER") or getpass.getuser()
        except (KeyError, OSError):  # a container may run as a user id without a name
            user = f"uid {os.getuid()}"
        return cls(f"{user}@{socket.gethostname()}", Surface.CLI)

    @classmethod
    def in_dashboard(cls, key: ApiKey | None) -> Operator:
        """Return the operator of an API key; None if the dashboard is open."""
        if key is None:
            return cls("anyone (no key required)", Surface.DASHBOARD)
        return cls(key.name, Surface.DASHBOARD, key.id)


def record_action(
    operator: Operator, action: str, target: str, details: Mapping[str, object] | None = None
) -> None:
    """Record an action, before it is carried out.

    Args:
        operator: who acts.
        action: name of the action, as `noun.verb`: "payments.cancel".
        target: id of the object, in a form that `movieapp trace` accepts.
        details: more information. No personal data: hashes in place of addresses.

    Raises:
        ServiceUnavailable: recording failed or is not confirmed. Do not carry out the action.
    """
    record = OperatorAction(
        at=utcnow(),
        operator=operator.name[:_MAX_LENGTH],
        surface=operator.surface,
        key_id=operator.key_id,
        action=action,
        target=target[:_MAX_LENGTH],
        details={name: _plain(value) for name, value in (details or {}).items() if value is not None},
    )
    with storage_writes():
        record.insert()


def find_actions(
    limit: int | None = None,
    *,
    operator: str | None = None,
    action: str | None = None,
    target: str | None = None,
    since: datetime | None = None,
) -> list[OperatorAction]:
    """Return the actions that meet every condition given, newest first.

    Args:
        limit: at most this many; None for all.
        operator: the name, or the id of the API key.
        action: the whole name, or its first word: "payments".
        target: the id.
        since: recorded at this time or later.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    conditions: dict[str, Any] = {}
    if operator:
        conditions["$or"] = [{"operator": operator}, {"key_id": operator}]
    if action:
        conditions["action"] = (
            {"$in": [action]} if "." in action else {"$gt": f"{action}.", "$lt": f"{action}/"}
        )
    if target:
        conditions["target"] = target
    if since:
        conditions["at"] = {"$gte": since}
    with storage_errors():
        return list(OperatorAction.objects(__raw__=conditions).order_by("-at", "-id").limit(limit))


def actions_on(targets: Collection[str]) -> list[OperatorAction]:
    """Return the actions on any of these ids, oldest first.

    Raises:
        ServiceUnavailable: MongoDB is unavailable.
    """
    with storage_errors():
        return list(OperatorAction.objects(target__in=sorted(targets)).order_by("at"))


def _plain(value: object) -> object:
    """Return a value to store: a number, or text of bounded length."""
    match value:
        case bool() | int() | datetime():
            return value
        case Decimal() | str():
            return str(value)[:_MAX_LENGTH]
        case list() | tuple() | set() | frozenset():
            return [_plain(item) for item in value][:_MAX_LENGTH]
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case _:
            return str(value)[:_MAX_LENGTH]
