"""Parse parameters by type, with Stripe's errors: https://docs.stripe.com/error-codes"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from devtools.stripe_simulator.errors import StripeError

#: https://docs.stripe.com/metadata#data
_METADATA_KEYS, _METADATA_KEY_LENGTH, _METADATA_VALUE_LENGTH = 50, 40, 500


class Params:
    """The parameters of a request, or one group of them.

    Every method raises StripeError (400, naming the parameter) for a value that is not of its type.

    Args:
        values: values from a decoded form.
        group: the name of the group, for messages.
    """

    def __init__(self, values: dict[str, Any], group: str = "") -> None:
        self._values = values
        self._group = group

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str | None:
        """Return a string, None if it is absent or empty."""
        value = self._values.get(name)
        if isinstance(value, dict):
            raise self._refused(name, "Invalid string", "parameter_invalid_string_blank")
        return value or None

    def required(self, name: str) -> str:
        """Return a required string."""
        if name not in self._values:
            raise self._refused(name, "Missing required param", "parameter_missing")
        value = self.text(name)
        if value is None:
            raise self._refused(name, "Must not be an empty string", "parameter_invalid_empty")
        return value

    def integer(self, name: str, least: int = 0) -> int | None:
        """Return an integer of at least `least`, None if it is absent."""
        value = self.text(name)
        if value is None:
            return None
        # Longer than any amount or time; int() of a very long string is slow.
        if not re.fullmatch(r"-?[0-9]{1,18}", value):
            raise self._refused(name, "Invalid integer", "parameter_invalid_integer")
        if int(value) < least:
            raise self._refused(name, f"Must be at least {least}", "parameter_invalid_integer")
        return int(value)

    def required_integer(self, name: str, least: int = 0) -> int:
        """Return a required integer of at least `least`."""
        self.required(name)
        value = self.integer(name, least)
        assert value is not None  # noqa: S101 - for the type checker
        return value

    def url(self, name: str) -> str | None:
        """Return an absolute URL, of the web or of an app; None if it is absent."""
        value = self.text(name)
        if value is not None and not re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", value, re.IGNORECASE):
            raise self._refused(name, "Not a valid URL", "url_invalid")
        return value

    def flag(self, name: str) -> bool:
        """Return a boolean, False if it is absent."""
        return self.choice(name, ("true", "false")) == "true"

    def choice(self, name: str, allowed: Collection[str]) -> str | None:
        """Return one of `allowed`, None if it is absent."""
        value = self.text(name)
        if value is not None and value not in allowed:
            raise self._refused(name, f"Must be one of {', '.join(allowed)}")
        return value

    def items(self, name: str) -> list[str]:
        """Return a list of strings, empty if it is absent."""
        group = self.group(name)
        return [group.required(position) for position in group._values]

    def group(self, name: str) -> Params:
        """Return a group of parameters, empty if it is absent."""
        value = self._values.get(name) or {}
        if not isinstance(value, dict):
            raise self._refused(name, "Invalid object")
        return Params(value, self._path(name))

    def is_group(self, name: str) -> bool:
        """Return whether it was sent as a group."""
        return isinstance(self._values.get(name), dict)

    def metadata(self, current: dict[str, str] | None = None) -> dict[str, str]:
        """Return `metadata`, within Stripe's limits, merged into the existing.

        An empty value removes its key. An empty `metadata` removes all keys.
        """
        if "metadata" not in self:
            return current or {}
        found = self.group("metadata")._values
        if len(found) > _METADATA_KEYS:
            raise self._refused("metadata", f"Metadata must have at most {_METADATA_KEYS} keys")
        for key, value in found.items():
            if not isinstance(value, str):
                raise self._refused("metadata", "Metadata values must be strings")
            if len(key) > _METADATA_KEY_LENGTH:
                raise self._refused(
                    "metadata", f"Metadata keys must have at most {_METADATA_KEY_LENGTH} characters"
                )
            if len(value) > _METADATA_VALUE_LENGTH:
                raise self._refused(
                    "metadata", f"Metadata values must have at most {_METADATA_VALUE_LENGTH} characters"
                )
        merged = (current or {}) | found if found else {}
        return {key: value for key, value in merged.items() if value}

    def _path(self, name: str) -> str:
        return f"{self._group}[{name}]" if self._group else name

    def _refused(self, name: str, what: str, code: str | None = None) -> StripeError:
        # Never the value itself: it may be a card number.
        param = self._path(name)
        fields = {"code": code} if code else {}
        return StripeError(400, f"{what}: {param}.", param=param, **fields)
