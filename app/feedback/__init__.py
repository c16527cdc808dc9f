"""Handle bounces and SMS receipts: reports about messages that a server had accepted.

`bounces` and `receipts` interpret a report, `records` writes it to `notification_logs`, and `fallback` sends
a booking's message by SMS if its mail can't arrive.
"""
