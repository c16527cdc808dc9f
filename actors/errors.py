"""The ways in which a delivery can fail. The class says whose problem it is, and what happens next."""

from __future__ import annotations


class DeliveryError(Exception):
    """A delivery was not accepted, and will not be retried.

    Attributes:
        phase: the step that failed, such as `rcpt`; None if nothing was sent.
        code: of the server's reply; None if there was none.
        reply: the server's words, or what happened instead of them.
    """

    def __init__(
        self, message: str, *, phase: str | None = None, code: int | None = None, reply: str = ""
    ) -> None:
        super().__init__(message)
        self.phase = phase
        self.code = code
        self.reply = reply


class TemporaryFailure(DeliveryError):
    """The recipient's trouble, such as a full mailbox. Retry with growing waits; each attempt counts."""


class Postponed(DeliveryError):
    """The server's trouble or our settings'. Hold the delivery, and try again without counting this attempt.

    Attributes:
        seconds: to wait, at least.
        server_wide: whether every delivery to this server would fail now.
    """

    seconds = 10.0
    server_wide = True


class PermanentFailure(DeliveryError):
    """The message's trouble: it will never be accepted as it is. Dead-letter at once."""


class NotAllowed(DeliveryError):
    """The recipient must not get it, by a rule of ours. Skip it."""


class Uncertain(DeliveryError):
    """Submitted, but the reply never came: it may or may not have been accepted."""
