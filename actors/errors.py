"""How a delivery can fail, told apart by what to do next."""

from __future__ import annotations


class DeliveryError(Exception):
    """A delivery was not accepted. Base of the tree; as it stands: for good."""


class TemporaryFailure(DeliveryError):
    """It may be accepted later: retry with backoff."""


class Postponed(DeliveryError):
    """Surely not accepted, and through no fault of its own: try again later, without counting this try.

    Attributes:
        seconds: to wait.
    """

    seconds = 60.0


class PermanentFailure(DeliveryError):
    """It will never be accepted as it is: dead-letter at once."""


class Uncertain(DeliveryError):
    """Handed over, but the answer never came: it may or may not have been accepted."""
