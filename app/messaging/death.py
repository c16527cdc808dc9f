"""Reasons of dead letters."""

from __future__ import annotations

from typing import Any

from dramatiq import Broker
from dramatiq.broker import MessageProxy

#: Maximum characters of a stored reason.
_MAX_REASON = 500


def reason_of(broker: Broker, message: MessageProxy) -> str:
    """Return why an actor's message became a dead letter: its last error, on one printable line."""
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
    """Return `text` on one line, shortened, with characters escaped that are unsafe to print or encode."""
    text = text if len(text) <= _MAX_REASON else text[: _MAX_REASON - 1] + "…"
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
