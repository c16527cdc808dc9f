"""The kinds of values in events: what JSON of any language sends for them, and how much of it is taken."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from marshmallow import ValidationError, fields, validate

#: The largest amount, in major units: twelve digits, which a float keeps to the cent.
LARGEST_AMOUNT = 999_999_999_999

#: An amount as a string.
AMOUNT_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,4})?$"

#: The version of the shapes in `schemas`. A field may be added under it; one that changes its meaning makes
#: another version.
VERSIONS = (1, "1", "1.0")


class Text(fields.String):
    """A string of bounded length."""

    def __init__(self, longest: int = 500, *, required: bool = False, shortest: int | None = None) -> None:
        least = int(required) if shortest is None else shortest
        super().__init__(required=required, validate=validate.Length(least, longest))


class Money(fields.Field[Decimal]):
    """An amount in major units: a JSON number, or a string of one. Not negative."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Decimal:
        if isinstance(value, str) and re.fullmatch(AMOUNT_PATTERN, value):
            return Decimal(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValidationError("Must be a number, or a string of one as 25.50.")
        if not 0 <= value <= LARGEST_AMOUNT:  # false for NaN as well
            raise ValidationError(f"Must be from 0 to {LARGEST_AMOUNT}.")
        return Decimal(str(value))


class Minutes(fields.Field[int]):
    """A duration in whole minutes, at most a week."""

    LONGEST = 7 * 24 * 60

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise ValidationError("Must be a whole number.")
        if not 0 <= value <= self.LONGEST:
            raise ValidationError(f"Must be from 0 to {self.LONGEST}.")
        return int(value)


class Choice(fields.Field[str]):
    """One of a few words."""

    def __init__(self, choices: tuple[str, ...]) -> None:
        super().__init__()
        self.choices = choices

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if value not in self.choices:
            raise ValidationError(f"Must be one of {', '.join(self.choices)}.")
        return str(value)


class Version(fields.Field[Any]):
    """`schema_version`: one that is known here."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        # 1 == True == 1.0 in Python, but not in JSON Schema's eyes: only 1 and 1.0 are.
        if isinstance(value, bool) or not isinstance(value, int | float | str) or value not in VERSIONS:
            raise ValidationError("Unknown version; known here: 1.")
        return value
