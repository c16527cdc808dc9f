"""Errors of the email channel. `actors.errors` says what each class means for the delivery."""

from __future__ import annotations

from typing import TypeVar

from actors.errors import DeliveryError, PermanentFailure, Postponed

Error = TypeVar("Error", bound=DeliveryError)

_LOGIN_ADVICE = (
    "Check SMTP_USERNAME and SMTP_PASSWORD. Gmail, Outlook, Yahoo, and iCloud need an app password, "
    "created in the account's security settings, in place of the account's own"
)


class RenderError(PermanentFailure):
    """The event can't be rendered. Nothing was sent."""


class TemplateVariableMissing(RenderError):
    """A template needs a field that the event does not have.

    Attributes:
        template: such as `payment_success`.
        variable: the event's field.
    """

    def __init__(self, template: str, variable: str) -> None:
        super().__init__(f"template {template}: the variable {variable} is missing")
        self.template = template
        self.variable = variable


class Unpresentable(Exception):
    """A value that can't be shown, such as an amount that is no number. Completes "the field …"."""


class InvalidAddress(PermanentFailure):
    """An address that no mail can be sent to, or from."""


class TooManyConnections(Postponed):
    """The server has as many connections from us as it allows."""

    seconds = 5.0
    server_wide = False


class AuthenticationFailed(Postponed):
    """The server refuses our login: the settings are wrong, not the mail."""


class OutOfTurn(Postponed):
    """Not tried: the server is in trouble, or allows no further connection."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def smtp_error(kind: type[Error], phase: str, code: int | None, reply: str, advice: str = "") -> Error:
    """Make an error of one step of SMTP.

    Args:
        kind: its class.
        phase: the step; see `actors.channels.email.replies.Phase`.
        code: of the server's reply; None if there was none.
        reply: the server's words, or what happened instead of them.
        advice: what to do, without a full stop.
    """
    if not advice and issubclass(kind, AuthenticationFailed):
        advice = _LOGIN_ADVICE
    said = reply if code is None else f"{code} {reply}"
    return kind(f"SMTP {phase}: {said}{advice and f'. {advice}'}", phase=phase, code=code, reply=reply)


def connection_lost(error: DeliveryError) -> bool:
    """Whether the connection is of no more use: no reply came, the server closes it, or it is not let in."""
    return error.code in (None, 421) or isinstance(error, AuthenticationFailed | TooManyConnections)
