"""Phone numbers, checked before anything is submitted to a provider."""

from __future__ import annotations

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from actors.errors import PermanentFailure

_REASONS = {
    ValidationResult.INVALID_COUNTRY_CODE: "no country has that code",
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_LENGTH: "numbers of that country have another length",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "it lacks the area code",
}


def e164(number: str) -> str:
    """`number` in E.164, as `+14155550123`.

    Only what can't be a number is refused: which ranges are in use changes faster than any list of them
    (https://github.com/google/libphonenumber/blob/master/FALSEHOODS.md), and Twilio knows better.

    Args:
        number: with `+` and country code; blanks, dots, hyphens and brackets may stand in it.

    Raises:
        PermanentFailure: it is no phone number; the message says why.
    """
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException as error:
        raise PermanentFailure("the phone number is not valid: it needs + and a country's code") from error
    result = phonenumbers.is_possible_number_with_reason(parsed)
    if result != ValidationResult.IS_POSSIBLE:
        raise PermanentFailure(f"the phone number is not valid: {_REASONS[result]}")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
