"""Look up, add, and remove entries of the suppression list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.addresses import InvalidAddress, parse_address
from app.channels import ChannelName
from app.clock import utcnow
from app.errors import InvalidRequest
from app.operations.audit import record_action
from app.suppressions import Result, SuppressionReason, make_suppressions

if TYPE_CHECKING:
    from app.models import Suppression
    from app.operations.audit import Operator
    from app.settings import Settings


def channel_of(address: str) -> ChannelName:
    """Return the channel of an address.

    Raises:
        InvalidRequest: it is neither an email address nor a phone number.
    """
    import phonenumbers  # imported here, because it is slow to load

    if "@" in address:
        try:
            parse_address(address)
        except InvalidAddress as error:
            raise InvalidRequest(str(error)) from None
        return ChannelName.EMAIL
    try:
        phonenumbers.parse(address)
    except phonenumbers.NumberParseException:
        raise InvalidRequest(
            "The address must be an email address, or a phone number with + and a country code."
        ) from None
    return ChannelName.SMS


def look_up(address: str, settings: Settings) -> Suppression | None:
    """Return the entry that suppresses an address now; None if there is none.

    Raises:
        InvalidRequest: it is neither an email address nor a phone number.
        ServiceUnavailable: MongoDB is unavailable.
    """
    return make_suppressions(settings).find(channel_of(address), address)


def add(address: str, reason: str, operator: Operator, settings: Settings) -> Result:
    """Suppress an address.

    Args:
        address: an email address or a phone number.
        reason: the operator's reason.
        operator: who adds it, for the audit log.
        settings: the process's settings.

    Raises:
        InvalidRequest: it is neither an email address nor a phone number.
        ServiceUnavailable: MongoDB is unavailable.
    """
    channel = channel_of(address)
    suppressions = make_suppressions(settings)
    details = {"channel": channel, "reason": reason}
    record_action(operator, "suppressions.add", suppressions.entry_id(channel, address), details)
    return suppressions.suppress(
        channel,
        address,
        reason=SuppressionReason.OPERATOR,
        source=operator.name,
        now=utcnow(),
        note=reason,
    )


def remove(target: str, reason: str, operator: Operator, settings: Settings) -> bool:
    """End a suppression.

    Args:
        target: an email address, a phone number, or the id of an entry.
        reason: the operator's reason.
        operator: who removes it, for the audit log.
        settings: the process's settings.

    Returns:
        Whether there was a suppression.

    Raises:
        InvalidRequest: the target is none of these.
        ServiceUnavailable: MongoDB is unavailable.
    """
    suppressions = make_suppressions(settings)
    listed = target.partition(":")[0] in tuple(ChannelName)
    entry_id = target if listed else suppressions.entry_id(channel_of(target), target)
    record_action(operator, "suppressions.remove", entry_id, {"reason": reason})
    return suppressions.remove(entry_id, by=operator.name)
