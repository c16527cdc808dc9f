"""Benchmarks by name, one after another: python -m benchmarks payments growth; without a name all of them."""

from __future__ import annotations

import argparse
import subprocess
import sys

#: Name → what it measures, in the order in which all are run.
PARTS = {
    "rendering": "a mail from event to bytes",
    "startup": "commands, the embedded stack, the worker's first mail; memory",
    "payments": "a payment whole, beside a floor, a minimum by hand and a rival",
    "slow_gateway": "payments in flight while the gateway takes 300 ms, and what each costs",
    "notifications": "mails a second and an event's latency, beside a floor and the usual consumer",
    "recovery": "10,000 payments of unknown outcome after an outage of the gateway, settled (ten minutes)",
    "outbox": "events that waited for RabbitMQ, published by one worker and by two",
    "growth": "operations at a thousand to a million stored documents (an hour)",
    "dashboard": "every dashboard page and list command at 100,000 stored documents (half an hour)",
    "soak": "memory under a steady load (15 minutes)",
}


def main() -> None:
    """Run those named."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Each part has options of its own: python -m benchmarks.payments --help",
        epilog="; ".join(f"{name}: {about}" for name, about in PARTS.items()),
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    for part in parser.parse_args().parts or PARTS:
        print(f"\n== {part}: {PARTS[part]}", flush=True)
        if subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=False).returncode:
            raise SystemExit(f"{part} failed")


if __name__ == "__main__":
    main()
