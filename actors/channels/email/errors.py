"""How a mail can fail. Each is also a kind of `actors.errors`, which says what to do next."""

from __future__ import annotations

from actors import errors as delivery


class MailError(delivery.DeliveryError):
    """A mail was not accepted. Base of the tree; as it stands: for good."""


class RenderError(MailError, delivery.PermanentFailure):
    """The event can't be made into a mail. Nothing was sent."""


class TemplateVariableMissing(RenderError):
    """A template needs a field that the event does not have.

    Attributes:
        template: as `payment_success`.
        variable: the event's field.
    """

    def __init__(self, template: str, variable: str) -> None:
        super().__init__(f"template {template}: the variable {variable} is missing")
        self.template = template
        self.variable = variable


class Unpresentable(Exception):
    """A value that can't be shown, as an amount that is no number. The message completes "the field …"."""


class InvalidAddress(MailError, delivery.PermanentFailure):
    """An address that no mail can be sent to, or from."""


class SmtpFailure(MailError):
    """The SMTP server, or the way to it, failed.

    Attributes:
        phase: the step that failed, as `rcpt`; see `actors.channels.email.replies.Phase`.
        code: of the server's reply; None if there was none.
        reply: the server's words, or what happened instead of them.
    """

    def __init__(self, phase: str, code: int | None, reply: str, advice: str = "") -> None:
        answer = reply if code is None else f"{code} {reply}"
        super().__init__(f"SMTP {phase}: {answer}{advice and f'. {advice}'}")
        self.phase = phase
        self.code = code
        self.reply = reply

    @property
    def connection_lost(self) -> bool:
        """Whether the connection is of no more use: no answer came, or 421, with which a server closes it."""
        return self.code in (None, 421)


class TemporaryFailure(SmtpFailure, delivery.TemporaryFailure):
    """The mail was surely not accepted, and may be later."""


class PermanentFailure(SmtpFailure, delivery.PermanentFailure):
    """The server will never accept this mail."""


class TooManyConnections(TemporaryFailure):
    """The server has as many connections from us as it wants."""

    connection_lost = True


class AuthenticationFailed(SmtpFailure, delivery.Postponed):
    """The server refuses our login: the settings are wrong, not the mail."""

    connection_lost = True

    def __init__(self, phase: str, code: int | None, reply: str) -> None:
        super().__init__(
            phase,
            code,
            reply,
            "Check SMTP_USERNAME and SMTP_PASSWORD. Gmail, Outlook, Yahoo and iCloud want an app password, "
            "made in the account's security settings, in place of the account's own",
        )


class OutOfTurn(MailError, delivery.Postponed):
    """Not even tried: the server wants nothing of us just now."""

    def __init__(self, words: str, seconds: float) -> None:
        super().__init__(words)
        self.seconds = seconds


class Uncertain(SmtpFailure, delivery.Uncertain):
    """The mail was handed over, but the answer never came: it may or may not have been accepted."""
