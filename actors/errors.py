"""Errors of deliveries. The class determines what happens next."""

from __future__ import annotations


class DeliveryError(Exception):
    """A delivery was not accepted, and will not be retried.

    Attributes:
        phase: the failed step, such as `rcpt`; None if nothing was sent.
        code: code of the server's reply; None without a reply.
        reply: the server's reply, or the failure.
    """

    def __init__(
        self, message: str, *, phase: str | None = None, code: int | None = None, reply: str = ""
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.code = code
        self.reply = reply


class TemporaryFailure(DeliveryError):
    """A temporary problem of the recipient, such as a full mailbox. Retry with backoff; each attempt
    counts."""


class Postponed(DeliveryError):
    """A problem of the server or our settings. Hold the delivery, and retry without counting this attempt.

    Attributes:
        seconds: minimum wait.
        server_wide: whether every delivery to this server would fail now.
        refuses_login: whether the server refuses our login.
    """

    seconds = 10.0
    server_wide = True
    refuses_login = False


class TooManyConnections(Postponed):
    """The server refuses further connections from us."""

    seconds = 5.0
    server_wide = False


class OutOfTurn(Postponed):
    """Not attempted: the circuit is open, or no further connection is allowed."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


class PermanentFailure(DeliveryError):
    """The message will never be accepted. Dead-letter it without retries."""


class NotAllowed(DeliveryError):
    """Our rules forbid this message. Skip it."""


class Unsubscribed(NotAllowed):
    """The recipient has unsubscribed at the provider. Suppress it, and skip the delivery."""


class Uncertain(DeliveryError):
    """Submitted, but the reply never came: it may or may not have been accepted."""
