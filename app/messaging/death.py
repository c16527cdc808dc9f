"""Why a message died, stored beside its dead letter."""

from __future__ import annotations

from typing import Any

from dramatiq import Broker
from dramatiq.broker import MessageProxy

#: Characters of a stored reason.
_MAX_REASON = 500


def reason_of(broker: Broker, message: MessageProxy) -> str:
    """Return why an actor's message died: the error of its last attempt, on one printable line."""
    error = message._exception
    if error is None:
        return "the worker rejected it"
    actor = broker.actors.get(message.actor_name)
    expected: Any = actor.options.get("throws") if actor else None
    words = str(error)
    return printable(
        words if expected and isinstance(error, expected) else f"{type(error).__name__}: {words}"
    )


def printable(text: str) -> str:
    """`text` on one line, cut, and with everything escaped that could act on a terminal or fail to encode."""
    text = text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
