"""Trace each message in a span of the message's trace."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Any

import dramatiq
from dramatiq.broker import MessageProxy
from dramatiq.middleware import Middleware

from app.telemetry import tracing


class Tracing(Middleware):
    """Middleware that starts and ends the spans. A thread handles one message at a time."""

    def __init__(self) -> None:
        self._in_hand = threading.local()

    def before_process_message(self, broker: dramatiq.Broker, message: MessageProxy) -> None:
        span: AbstractContextManager[None] = tracing.span(
            message.actor_name,
            {
                "messaging.destination.name": message.queue_name,
                "messaging.message.id": message.message_id,
                "movieapp.retries": message.options.get("retries", 0),
            },
            kind="consumer",
            # An empty context begins a new trace.
            parent=message.options.get(tracing.TRACEPARENT, ""),
        )
        span.__enter__()
        self._in_hand.span = span

    def after_process_message(
        self,
        broker: dramatiq.Broker,
        message: MessageProxy,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is not None:
            tracing.failed(type(exception.__cause__ or exception).__qualname__)
        self._in_hand.span.__exit__(None, None, None)
