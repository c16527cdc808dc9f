"""gunicorn's configuration for the simulator."""

from __future__ import annotations

#: One process: faults, running idempotency keys, and the queue of webhooks live in its memory.
workers = 1
worker_class = "gthread"
#: More than any test has payments in flight; a delayed request holds its thread.
threads = 256
keepalive = 75
#: No limit on a request: delays are asked for.
timeout = 0
#: Seconds. A request that is delayed on demand must not delay the end.
graceful_timeout = 1
loglevel = "critical"
#: No remote control of the server: signals do.
control_socket_disable = True
