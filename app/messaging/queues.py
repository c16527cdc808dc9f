"""Names of the queues, and of the actor that consumes events."""

from __future__ import annotations

from app.channels import CHANNELS

#: First word of an event type → the queue that takes such events. A queue bound as `word.*`.
EVENT_QUEUES = {"booking": "notification.booking_events", "payment": "notification.payment_events"}

#: Channel queues in the order of `ChannelName`, which is the order that commands list them in.
CHANNEL_QUEUES = tuple(CHANNELS[name].queue for name in sorted(CHANNELS))
QUEUES = (*EVENT_QUEUES.values(), *CHANNEL_QUEUES)

#: The actor of the event queues. Publishers and consumers share this name and nothing else.
NOTIFY = "notify"
