"""The channels that deliver notifications, one row each. To add a channel, add its package and one row."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.settings import Settings


#: Contains the Message-ID too, because some relays replace that header.
DELIVERY_ID_HEADER = "X-Delivery-ID"


class ChannelName(StrEnum):
    """A channel's name in records, metrics, and commands."""

    EMAIL = "email"
    SMS = "sms"


class NotRendered(Exception):
    """The event can't be rendered. The message gives the reason."""


@dataclass(frozen=True)
class Preview:
    """A message as its recipient sees it.

    Attributes:
        text: the plain text of an email, or the SMS.
        subject: None for an SMS.
        html: the HTML part of an email with embedded images; None for an SMS.
        segments: how many messages an SMS is billed as.
    """

    text: str
    subject: str | None = None
    html: str | None = None
    segments: int | None = None


@dataclass(frozen=True)
class Channel:
    """A channel for notifications.

    Attributes:
        name: in records, metrics, and commands.
        recipient_field: the event's field that holds the recipient.
        queue: name of the queue of waiting deliveries, without the namespace.
        actor: the name of the actor that messages on `queue` are for.
        factory: `module:class` of the implementation, an `actors.deliver.Sender` made from the settings. A
            name, so that a disabled channel needs no library, and `app` imports no actor.
        preview: `module:function` that renders a message without sending it: from the settings, the template,
            and the event to a `Preview`.
        enabled: returns whether the settings enable it.
        inline: whether `notify` may send before it acknowledges the event. At most one channel.
    """

    name: ChannelName
    recipient_field: str
    queue: str
    actor: str
    factory: str
    preview: str
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
        preview="actors.channels.sms.preview:preview",
        enabled=lambda settings: settings.sms_provider != "none",
    ),
    Channel(
        ChannelName.EMAIL,
        recipient_field="user_email",
        queue="notification.email",
        actor="send_email",
        factory="actors.channels.email.channel:EmailChannel",
        preview="actors.channels.email.preview:preview",
        enabled=lambda _: True,
        inline=True,
    ),
)

CHANNELS: dict[ChannelName, Channel] = {row.name: row for row in _ROWS}
