"""gunicorn's configuration for the simulator."""

from __future__ import annotations

#: One process: faults, running idempotency keys, and the queue of webhooks live in its memory.
workers = 1
worker_class = "gthread"
#: More threads than any test has concurrent payments, because a delayed request occupies its thread.
threads = 256
keepalive = 75
#: No time limit for requests, because tests request delays.
timeout = 0
#: Seconds, so that a delayed request does not delay shutdown.
graceful_timeout = 1
loglevel = "critical"
#: No control socket; signals are enough.
control_socket_disable = True
