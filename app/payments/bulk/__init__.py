"""Bulk refunds: refund each payment of a list exactly once, across crashes.

A confirmed run is recorded before its first refund. The process that holds its lease carries it out: the
command that started it, or a worker. Each refund's id follows from the run, the payment, and the
attempt, and the payment records it before the gateway call (`app.payments.refunds`). So a process that takes
over a run reads its progress from the payments.
"""
