"""Run benchmarks one after another: python -m benchmarks payments growth. Without a name, run all of them."""

from __future__ import annotations

import argparse
import subprocess
import sys

#: Name → what the benchmark measures, in the order in which all are run.
PARTS = {
    "rendering": "a mail from event to bytes",
    "startup": "start of commands, the embedded stack, and the worker; memory",
    "payments": "a complete payment, compared with a bare route, a minimum, and a typical service",
    "slow_gateway": "payments in flight while the gateway takes 300 ms, and their cost",
    "notifications": "mails a second and the latency of events, compared with a loop and a typical consumer",
    "recovery": "settling 10,000 payments of unknown outcome after a gateway outage (ten minutes)",
    "outbox": "publishing events that waited for RabbitMQ, by one worker and by two",
    "growth": "operations at a thousand to a million stored documents (an hour)",
    "dashboard": "every dashboard page and list command at 100,000 stored documents (half an hour)",
    "soak": "memory under a steady load (15 minutes)",
}


def main() -> None:
    """Run the named benchmarks."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Options of one part: python -m benchmarks.payments --help",
        epilog="; ".join(f"{name}: {about}" for name, about in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    for part in parser.parse_args().parts or PARTS:
        print(f"\n== {part}: {PARTS[part]}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=False).returncode:
            raise SystemExit(f"{part} failed")


if __name__ == "__main__":
    main()
