"""Validate phone numbers before a message is submitted to a provider."""

from __future__ import annotations

import phonenumbers
from phonenumbers import NumberParseException, ValidationResult

from actors.errors import PermanentFailure

_REASONS = {
    ValidationResult.INVALID_COUNTRY_CODE: "no country has this country code",
    ValidationResult.TOO_SHORT: "it is too short",
    ValidationResult.TOO_LONG: "it is too long",
    ValidationResult.INVALID_LENGTH: "numbers in this country have a different length",
    ValidationResult.IS_POSSIBLE_LOCAL_ONLY: "it lacks the area code",
}


def e164(number: str) -> str:
    """Return `number` in E.164, for example `+14155550123`.

    Only impossible numbers are refused. Number ranges change faster than any list of them
    (https://github.com/google/libphonenumber/blob/master/FALSEHOODS.md), and Twilio checks them anyway.

    Args:
        number: with `+` and country code; may contain blanks, dots, hyphens, and parentheses.

    Raises:
        PermanentFailure: the number is invalid. The message gives the reason.
    """
    try:
        parsed = phonenumbers.parse(number)
    except NumberParseException as error:
        raise PermanentFailure(
            "the phone number is not valid: it must be an international number, such as +14155550123"
        ) from error
    result = phonenumbers.is_possible_number_with_reason(parsed)
    if result != ValidationResult.IS_POSSIBLE:
        raise PermanentFailure(f"the phone number is not valid: {_REASONS[result]}")
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
