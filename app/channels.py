"""The channels that deliver notifications, one row each. A new channel is its package and one row here."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.settings import Settings


class ChannelName(StrEnum):
    """A channel's name in records, metrics, and commands."""

    EMAIL = "email"
    SMS = "sms"


@dataclass(frozen=True)
class Channel:
    """A way to reach people.

    Attributes:
        name: in records, metrics, and commands.
        recipient_field: the event's field that holds the recipient.
        queue: holds the deliveries that wait; without the namespace.
        actor: the name of the actor that messages on `queue` are for.
        factory: `module:class` of the implementation, an `actors.deliver.Sender` made from the settings. A
            name, so that a channel that is off needs no library installed, and `app` imports no actor.
        enabled: whether the settings turn it on.
        inline: whether `notify` may send over it before it acknowledges the event. At most one channel.
    """

    name: ChannelName
    recipient_field: str
    queue: str
    actor: str
    factory: str
    enabled: Callable[[Settings], bool]
    inline: bool = False


#: Recorded and queued in this order. The inline channel is last: if the broker refuses another channel's
#: message, the event is redelivered and finds the inline delivery neither recorded nor leased.
_ROWS = (
    Channel(
        ChannelName.SMS,
        recipient_field="user_phone",
        queue="notification.sms",
        actor="send_sms",
        factory="actors.channels.sms.channel:SmsChannel",
        enabled=lambda settings: settings.sms_provider != "none",
    ),
    Channel(
        ChannelName.EMAIL,
        recipient_field="user_email",
        queue="notification.email",
        actor="send_email",
        factory="actors.channels.email.channel:EmailChannel",
        enabled=lambda _: True,
        inline=True,
    ),
)

CHANNELS: dict[ChannelName, Channel] = {row.name: row for row in _ROWS}
