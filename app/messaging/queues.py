"""The names of the queues, and of the actors that messages on them are for. Imports nothing."""

from __future__ import annotations

#: First word of an event type → the queue that takes such events. A queue bound as `word.*`.
EVENT_QUEUES = {"booking": "notification.booking_events", "payment": "notification.payment_events"}
EMAIL_QUEUE = "notification.email"
SMS_QUEUE = "notification.sms"
QUEUES = (*EVENT_QUEUES.values(), EMAIL_QUEUE, SMS_QUEUE)

#: Actors by the name that messages carry. Publishers and consumers share these names and nothing else.
NOTIFY = "notify"
SEND_EMAIL = "send_email"
SEND_SMS = "send_sms"
