"""Map Twilio's refusals to delivery errors, in one table. The first match wins.

Codes: https://www.twilio.com/docs/api/errors. Twilio changes them occasionally, so the HTTP status decides if
no row has the code.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from actors.errors import (
    DeliveryError,
    PermanentFailure,
    Postponed,
    TemporaryFailure,
    Uncertain,
    Unsubscribed,
)
from app.text import one_line

_MAX_REPLY_LENGTH = 400


class AccountRefused(Postponed):
    """Twilio refuses the account or its sender: the settings are wrong, not the SMS, which is held."""

    seconds = 300.0


@dataclass(frozen=True)
class Rule:
    """One row: the error to raise, and the replies it covers. An empty field covers all."""

    error: type[DeliveryError]
    explanation: str
    codes: tuple[int, ...] = ()
    statuses: Container[int] = ()

    def fits(self, status: int, code: int) -> bool:
        """Return whether this row covers a reply."""
        return (not self.codes or code in self.codes) and (not self.statuses or status in self.statuses)


RULES: tuple[Rule, ...] = (
    Rule(
        AccountRefused,
        "check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, and that the account is active",
        codes=(20003, 20005, 20006, 20008, 20404),
    ),
    Rule(
        AccountRefused,
        "check TWILIO_FROM_NUMBER: the account can't send from it",
        codes=(21212, 21603, 21659, 21660, 21661),
    ),
    Rule(PermanentFailure, "the number is invalid, or can't receive SMS", codes=(21211, 21217, 21614, 21635)),
    Rule(Unsubscribed, "the owner of the number has unsubscribed, for example by STOP", codes=(21610,)),
    Rule(
        PermanentFailure,
        "the account may not send SMS to this country, or to this number",
        codes=(21408, 21608),
    ),
    Rule(PermanentFailure, "the number can't be reached from TWILIO_FROM_NUMBER", codes=(21606, 21612)),
    Rule(TemporaryFailure, "too many requests at once", codes=(14107, 20429, 21611, 63038)),
    Rule(TemporaryFailure, "too many requests at once", statuses=(429,)),
    # The message may have been accepted.
    Rule(Uncertain, "Twilio may have sent the SMS", statuses=range(500, 600)),
    Rule(AccountRefused, "check the TWILIO_* settings", statuses=(401, 403, 404)),
    Rule(PermanentFailure, "Twilio refused the SMS", statuses=range(400, 500)),
    # For example a redirect: the responding server is not Twilio.
    Rule(AccountRefused, "check TWILIO_API_BASE"),
)


def failure(status: int, code: int, words: str) -> DeliveryError:
    """Return the error that a refusal means.

    Args:
        status: HTTP status.
        code: Twilio's error code; the HTTP status if there is none.
        words: Twilio's message.
    """
    rule = next(rule for rule in RULES if rule.fits(status, code))
    return rule.error(
        f"Twilio {status}, error {code}: {one_line(words, _MAX_REPLY_LENGTH)} ({rule.explanation})"
    )
