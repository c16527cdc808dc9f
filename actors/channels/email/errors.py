"""Errors of the email channel. `actors.errors` says what each class means for the delivery."""

from __future__ import annotations

from typing import TypeVar

from actors.errors import DeliveryError, PermanentFailure, Postponed, TooManyConnections

Error = TypeVar("Error", bound=DeliveryError)

_LOGIN_ADVICE = (
    "check SMTP_USERNAME and SMTP_PASSWORD; Gmail, Yahoo, and iCloud require an app password, created in the "
    "account's security settings, instead of the account's password; Outlook.com requires SMTP_AUTH=xoauth2"
)


class RenderError(PermanentFailure):
    """The event can't be rendered. Nothing was sent."""


class TemplateVariableMissing(RenderError):
    """A template requires a field that the event does not have.

    Attributes:
        template: for example `payment_success`.
        variable: the event's field.
    """

    def __init__(self, template: str, variable: str) -> None:
        super().__init__(f"template {template}: the variable {variable} is missing")
        self.template = template
        self.variable = variable


class Unpresentable(Exception):
    """A value that can't be shown, such as an invalid amount. The message completes "the field …"."""


class InvalidAddress(PermanentFailure):
    """An address that mail can't be sent to or from."""


class AuthenticationFailed(Postponed):
    """The server refuses our login: the settings are wrong, not the mail."""

    refuses_login = True


def smtp_error(kind: type[Error], phase: str, code: int | None, reply: str, advice: str = "") -> Error:
    """Return an error of one SMTP step.

    Args:
        kind: class of the error.
        phase: the step; see `actors.channels.email.replies.Phase`.
        code: code of the server's reply; None without a reply.
        reply: the server's reply, or the failure.
        advice: what to do, in lower case and without a period.
    """
    if not advice and issubclass(kind, AuthenticationFailed):
        advice = _LOGIN_ADVICE
    said = reply if code is None else f"{code} {reply}"
    if advice:
        said = f"{said.rstrip('.')}: {advice}"
    return kind(f"SMTP {phase}: {said}", phase=phase, code=code, reply=reply)


def is_connection_lost(error: DeliveryError) -> bool:
    """Return whether the connection is unusable: no reply, closed by the server, or refused."""
    return error.code in (None, 421) or isinstance(error, AuthenticationFailed | TooManyConnections)
