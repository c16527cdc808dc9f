"""Names of the queues and of the events' actor."""

from __future__ import annotations

from app.channels import CHANNELS

#: First word of an event type → its queue, which is bound with `word.*`.
EVENT_QUEUES = {"booking": "notification.booking_events", "payment": "notification.payment_events"}

#: Channel queues in the order of `ChannelName`, which is also the order in commands.
CHANNEL_QUEUES = tuple(CHANNELS[name].queue for name in sorted(CHANNELS))
QUEUES = (*EVENT_QUEUES.values(), *CHANNEL_QUEUES)

#: The actor of the event queues. Publishers and consumers share only this name.
NOTIFY = "notify"
