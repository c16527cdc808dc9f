"""Map SMTP replies to delivery errors, in one table.

The first matching row applies; without one, the first digit (RFC 5321, 4.2.1; enhanced codes: RFC 3463). Rows
exist where a server's habits or the SMTP step say more. Each `pattern` pattern contains a blank, so that it
can't match an address that the server echoes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from actors.channels.email.errors import AuthenticationFailed, smtp_error
from actors.errors import (
    DeliveryError,
    PermanentFailure,
    Postponed,
    TemporaryFailure,
    TooManyConnections,
    Uncertain,
)
from app.text import one_line

_MAX_REPLY_LENGTH = 400


class Phase(StrEnum):
    """The step of sending that a reply belongs to."""

    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    AFTER_DATA = "after-data"


@dataclass(frozen=True)
class Reply:
    """A server's reply.

    Attributes:
        code: three digits; something else if the server did not speak SMTP.
        text: the reply's text, on one line.
    """

    code: int
    text: str

    @classmethod
    def of(cls, code: int, text: bytes | str) -> Self:
        """Return the reply in smtplib's result."""
        decoded = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return cls(code, one_line(decoded, _MAX_REPLY_LENGTH))

    @property
    def enhanced(self) -> str:
        """Return the enhanced status code, such as `5.1.1`; empty if there is none."""
        found = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", self.text)
        return found[0] if found else ""


@dataclass(frozen=True)
class Rule:
    """One row: an error, and the replies that it covers. An empty field covers all.

    Attributes:
        enhanced: enhanced status codes. One that ends in a period covers every code that starts with it.
        pattern: a regular expression, in any case.
        server_wide: for `Postponed`, whether every mail would get this reply.
        advice: what to do, in lower case and without a period.
    """

    error: type[DeliveryError]
    explanation: str
    codes: range | tuple[int, ...] = ()
    enhanced: tuple[str, ...] = ()
    pattern: str = ""
    phases: tuple[Phase, ...] = ()
    server_wide: bool = True
    advice: str = ""

    def fits(self, phase: Phase, reply: Reply) -> bool:
        """Return whether this row covers `reply`, given at `phase`."""
        return (
            (not self.phases or phase in self.phases)
            and (not self.codes or reply.code in self.codes)
            and (not self.enhanced or any(_covers(entry, reply.enhanced) for entry in self.enhanced))
            and re.search(self.pattern, reply.text, re.IGNORECASE) is not None
        )


def _covers(entry: str, enhanced: str) -> bool:
    return enhanced.startswith(entry) if entry.endswith(".") else enhanced == entry


_4XX, _5XX, _ANY = range(400, 500), range(500, 600), range(400, 600)

_BEFORE_MAIL = (Phase.CONNECT, Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH)

RULES: tuple[Rule, ...] = (
    # Our settings.
    Rule(
        AuthenticationFailed,
        "a login refused for good is refused for every mail (RFC 4954, 6)",
        codes=_5XX,
        phases=(Phase.AUTH,),
    ),
    Rule(
        AuthenticationFailed,
        "the server requires a login, or a better one (RFC 4954, 6; RFC 3207, 4)",
        codes=(530, 534, 535, 538),
    ),
    Rule(
        AuthenticationFailed,
        "Postfix with defer_unauth_destination: temporary in form only, it waits for a login",
        codes=(454,),
        enhanced=("4.7.1",),
        pattern="relay access denied",
    ),
    Rule(
        Postponed,
        "the server does not relay for us: a login is missing, or our network is not listed there",
        codes=_5XX,
        pattern=r"relay(ing)? (access )?(denied|not permitted)|(not permitted|unable) to relay",
        server_wide=False,
        advice="check SMTP_USERNAME, or let the server relay for this host",
    ),
    Rule(
        Postponed,
        "the server refuses our name in EHLO, some servers only after RCPT",
        codes=_ANY,
        pattern=r"(helo|ehlo) (command|argument|name|hostname)|need fully-qualified hostname",
        advice="check SMTP_EHLO_NAME",
    ),
    Rule(
        Postponed,
        "the server knows no such domain as that of FROM_EMAIL (RFC 3463, X.1.7 and X.1.8)",
        codes=_ANY,
        enhanced=("4.1.7", "5.1.7", "4.1.8", "5.1.8"),
        advice="check FROM_EMAIL",
    ),
    # The connection.
    Rule(TooManyConnections, "Exchange Online's limit of concurrent connections", codes=(432,)),
    Rule(
        TooManyConnections,
        "the same in other servers' words",
        codes=(421, 450, 451, 452, 454),
        pattern=r"too many (concurrent |simultaneous )?(\w+ )?(connections|sessions)",
    ),
    Rule(
        Postponed,
        "before MAIL the server has not heard of this mail: it refuses us, now",
        codes=_ANY,
        phases=_BEFORE_MAIL,
    ),
    Rule(Postponed, "the server closes the connection (RFC 5321, 3.8)", codes=(421,)),
    # The recipient.
    Rule(
        TemporaryFailure,
        "mailbox full: its owner can make room (RFC 3463, X.2.2)",
        codes=_5XX,
        enhanced=("5.2.2",),
    ),
    Rule(
        TemporaryFailure,
        "the same without that code; the mailboxes of other recipients have room",
        codes=_ANY,
        phases=(Phase.RCPT, Phase.AFTER_DATA),
        pattern=r"(user|mailbox)('s)? ((mail|disk|storage) )?quota|mailbox ((message|storage|size) )?limit"
        r"|(user|mailbox|recipient) (is )?(over quota|full)",
    ),
    Rule(TemporaryFailure, "the state of the mailbox (RFC 3463, X.2)", codes=_4XX, enhanced=("4.2.",)),
    # The server, and what it allows us.
    Rule(Postponed, "Gmail's daily sending quota: resets within a day", codes=(550,), enhanced=("5.4.5",)),
    Rule(Postponed, "the server's login service or its quota is unavailable", codes=(454,)),
    Rule(
        Postponed,
        "the mail system is full, busy, or shutting down (RFC 3463, X.3)",
        codes=_4XX,
        enhanced=("4.3.",),
        # Some servers use it for one recipient whose lookup failed.
        server_wide=False,
    ),
    Rule(
        Postponed,
        "a quota or a rate limit of ours",
        codes=_ANY,
        pattern=r"(sending|hourly|daily|message|mail|rate|recipients?) (sending )?(quota|limit)\b.* "
        r"(exceeded|reached)|exceeded .*(sending|hourly|daily|rate) (quota|limit)|too many (messages|mails)",
    ),
)

_BY_FIRST_DIGIT: dict[int, type[DeliveryError]] = {4: TemporaryFailure, 5: PermanentFailure}


def failure(phase: Phase, reply: Reply) -> DeliveryError:
    """Return the error for a reply that is not a success.

    A reply that is not a valid refusal leaves the outcome open: a complete mail may have been accepted.
    """
    rule = next((rule for rule in RULES if rule.fits(phase, reply)), None)
    if rule is None:
        unintelligible = Uncertain if phase is Phase.AFTER_DATA else Postponed
        return smtp_error(
            _BY_FIRST_DIGIT.get(reply.code // 100, unintelligible), phase, reply.code, reply.text
        )
    error = smtp_error(rule.error, phase, reply.code, reply.text, rule.advice)
    if isinstance(error, Postponed):
        error.server_wide = error.server_wide and rule.server_wide
    return error
