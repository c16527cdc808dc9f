"""What an SMTP server's refusal means for the mail: one table, first match wins; else the code's first digit.

The first digit is RFC 5321, 4.2.1; the enhanced codes are RFC 3463. A row stands where a server's habit, or
the step it speaks at, knows better.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from actors.channels.email.errors import (
    AuthenticationFailed,
    PermanentFailure,
    SmtpFailure,
    TemporaryFailure,
    TooManyConnections,
    Uncertain,
)
from app.text import one_line

_LONGEST_REPLY = 400


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
    """A server's answer.

    Attributes:
        code: three digits; something else if the server did not speak SMTP.
        text: its words, on one line.
    """

    code: int
    text: str

    @classmethod
    def of(cls, code: int, text: bytes | str) -> Self:
        """A reply as smtplib gives it."""
        words = text if isinstance(text, str) else text.decode("utf-8", "replace")
        return cls(code, one_line(words, _LONGEST_REPLY))

    @property
    def enhanced(self) -> str:
        """The enhanced status code in front of the words, as `5.1.1`; empty if there is none."""
        found = re.match(r"[245]\.\d{1,3}\.\d{1,3}\b", self.text)
        return found[0] if found else ""


@dataclass(frozen=True)
class Rule:
    """One row: the error that says what to do, and which replies it is about. What is left open, fits."""

    error: type[SmtpFailure]
    why: str
    codes: range | tuple[int, ...] = ()
    enhanced: str = ""
    words: str = ""
    phases: tuple[Phase, ...] = ()

    def fits(self, phase: Phase, reply: Reply) -> bool:
        """Whether `reply`, given at `phase`, is what this row is about."""
        return (
            (not self.phases or phase in self.phases)
            and (not self.codes or reply.code in self.codes)
            and (not self.enhanced or reply.enhanced == self.enhanced)
            and re.search(self.words, reply.text, re.IGNORECASE) is not None
        )


_5XX = range(500, 600)

RULES: tuple[Rule, ...] = (
    Rule(
        AuthenticationFailed,
        "a login refused for good is refused for every mail (RFC 4954, 6)",
        codes=_5XX,
        phases=(Phase.AUTH,),
    ),
    Rule(
        AuthenticationFailed,
        "the server wants a login, or a better one (RFC 4954, 6; RFC 3207, 4)",
        codes=(530, 534, 535, 538),
    ),
    Rule(
        AuthenticationFailed,
        "Postfix with defer_unauth_destination: temporary in form only, it waits for a login",
        codes=(454,),
        enhanced="4.7.1",
        words="relay access denied",
    ),
    Rule(
        TemporaryFailure,
        "before MAIL the server has not heard of this mail: it refuses us, now",
        codes=_5XX,
        phases=(Phase.GREETING, Phase.EHLO, Phase.STARTTLS),
    ),
    Rule(
        TemporaryFailure,
        "Gmail's daily sending quota: heals within a day",
        codes=(550,),
        enhanced="5.4.5",
    ),
    Rule(
        TemporaryFailure,
        "mailbox full: its owner can make room (RFC 3463, X.2.2)",
        codes=_5XX,
        enhanced="5.2.2",
    ),
    Rule(
        TooManyConnections,
        "Exchange Online's limit of concurrent connections: wants fewer at once",
        codes=(432,),
    ),
    Rule(
        TooManyConnections,
        "the same in other servers' words",
        codes=(421, 450, 451, 452, 454),
        words=r"too many (concurrent |simultaneous )?(\w+ )?(connections|sessions)",
    ),
)

_BY_FIRST_DIGIT: dict[int, type[SmtpFailure]] = {4: TemporaryFailure, 5: PermanentFailure}


def failure(phase: Phase, reply: Reply) -> SmtpFailure:
    """The error that a reply amounts to which is not the one hoped for.

    What is no refusal in SMTP's terms tells nothing: the mail may have been accepted if it was complete.
    """
    unintelligible = Uncertain if phase is Phase.AFTER_DATA else TemporaryFailure
    by_digit = _BY_FIRST_DIGIT.get(reply.code // 100, unintelligible)
    error = next((rule.error for rule in RULES if rule.fits(phase, reply)), by_digit)
    return error(phase, reply.code, reply.text)
