"""Field types of events, with their limits."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

from app.addresses import ADDRESS_PATTERN, InvalidAddress, parse_address
from app.events.currencies import CURRENCY_PATTERN
from app.text import ID_PATTERN, VISIBLE_PATTERN

#: The largest amount, in major units: twelve digits, which a float stores to the cent.
MAX_AMOUNT = 999_999_999_999

#: An amount as a string. `(?!\n)`: Python's `$` also matches before a line break at the end.
AMOUNT_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,4})?$(?!\n)"

#: Version of the schemas in `schemas`. Adding a field keeps the version; changing a field's meaning needs a
#: new one.
VERSIONS = (1, "1", "1.0")

#: RFC 5321, 4.5.3.1.
_MAX_ADDRESS = 254


class Matches:
    """Validator: the regular expression must match somewhere in the value.

    Args:
        pattern: in the syntax that Python and ECMAScript share; the JSON Schemas have it too.
        message: error for a value that does not match.
    """

    def __init__(self, pattern: str, message: str) -> None:
        self.pattern = pattern
        self._regex = re.compile(pattern)
        self._message = message

    def __call__(self, value: str) -> None:
        """Raise ValidationError unless `value` matches."""
        if not self._regex.search(value):
            raise ValidationError(self._message)


VISIBLE = Matches(VISIBLE_PATTERN, "Must not be blank.")
_ID = Matches(ID_PATTERN, "Must have visible characters, and no control characters.")
_CURRENCY = Matches(CURRENCY_PATTERN, "Must be an ISO 4217 code such as USD.")


class Text(fields.String):
    """A string of bounded length. A required one must not be blank."""

    def __init__(self, longest: int = 500, *, required: bool = False) -> None:
        checks: list[Any] = [validate.Length(int(required), longest)]
        super().__init__(required=required, validate=[*checks, VISIBLE] if required else checks)


class Moment(Text):
    """A date or a time: ISO 8601, RFC 9557, or free text; see `app.events.times`."""


class Id(fields.String):
    """An id, compared and shown exactly as it is."""

    def __init__(self, *, required: bool = False) -> None:
        super().__init__(required=required, validate=[validate.Length(1, 255), _ID])


class Currency(fields.String):
    """An ISO 4217 code, in capitals or small letters."""

    def __init__(self) -> None:
        super().__init__(validate=[_CURRENCY])


class Email(fields.String):
    """One email address, or ""."""

    #: The IDNA check, which a pattern can't express, comes first for a domain outside ASCII.
    PATTERN, MAX_LENGTH = ADDRESS_PATTERN, _MAX_ADDRESS

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text: str = super()._deserialize(value, attr, data, **kwargs)
        if len(text) > self.MAX_LENGTH:
            raise ValidationError(f"Must have at most {self.MAX_LENGTH} characters.")
        try:
            return str(parse_address(text)) if text else text
        except InvalidAddress as error:
            raise ValidationError(str(error)) from None


class Money(fields.Field[Decimal]):
    """An amount in major units: a JSON number, or a string of one. Not negative."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, str) and re.search(AMOUNT_PATTERN, value):
            return Decimal(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number, or a string that contains a number, such as 25.50.")
        if not 0 <= value <= MAX_AMOUNT:  # false for NaN as well
            raise ValidationError(f"Must be from 0 to {MAX_AMOUNT}.")
        return Decimal(str(value))


class Minutes(fields.Field[int]):
    """A duration in whole minutes, at most a week."""

    LONGEST = 7 * 24 * 60

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValidationError("Must be a whole number.")
        if not 0 <= value <= self.LONGEST:
            raise ValidationError(f"Must be from 0 to {self.LONGEST} minutes.")
        return int(value)


class Choice(fields.Field[str]):
    """One of a fixed set of words."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        super().__init__()
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if value not in self.choices:
            raise ValidationError(f"Must be one of {', '.join(self.choices)}.")
        return str(value)


class Version(fields.Field[Any]):
    """A supported `schema_version`."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        # 1 == True == 1.0 in Python, but not in JSON Schema: only 1 and 1.0 are equal there.
        if isinstance(value, bool) or not isinstance(value, int | float | str) or value not in VERSIONS:
            raise ValidationError("Must be 1, the only schema version.")
        return value
