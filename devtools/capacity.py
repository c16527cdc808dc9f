"""Plan the capacity for a rate of payments, from the costs that docs/performance.md measures.

python -m devtools.capacity --payments 100
python -m devtools.capacity --payments 100 --core-price 25 --memory-price 3 --disk-price 0.1
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from math import ceil

from app.models import Notification, Transaction
from devtools.index_sizes import TYPICAL_DELIVERY, TYPICAL_PAYMENT, index_bytes

#: Throughput and resources of one process on one core, from docs/performance.md and docs/deployment.md.
API_PAYMENTS_A_SECOND = 120
API_GATEWAY_CALLS = 72
API_MIB = 105
WORKER_MAILS_A_SECOND = 80
WORKER_MIB = 107

#: Statements and commands of one payment with an Idempotency-Key and a webhook, and of one mail, from
#: tests/integration/test_round_trips.py and test_capacity.py.
PAYMENT_WRITES, MAIL_WRITES = 6, 2
PAYMENT_REDIS_COMMANDS, MAIL_REDIS_COMMANDS = 5, 6

#: Bytes of one document in MongoDB, and days for which it is kept, from tests/integration/test_capacity.py.
PAYMENT_BYTES = 1_050
MAIL_BYTES = 1_250
KEY_BYTES, KEY_DAYS = 660, 1
PAYMENT_INDEX_BYTES = sum(index_bytes(Transaction, TYPICAL_PAYMENT).values())
MAIL_INDEX_BYTES = sum(index_bytes(Notification, TYPICAL_DELIVERY).values())

#: Indexes with random new keys: each insert may need a page that is not in memory.
PAYMENT_RANDOM_KEYS, MAIL_RANDOM_KEYS = 9, 6

#: https://docs.stripe.com/rate-limits, live mode: an account, and one endpoint of it.
STRIPE_CALLS_A_SECOND = 100
STRIPE_ENDPOINT_CALLS_A_SECOND = 25

#: Assumed, not measured: throughput of one primary, one queue leader, and one server with a core or two each.
MONGODB_WRITES_A_SECOND = 5_000
RABBITMQ_MESSAGES_A_SECOND = 10_000
REDIS_COMMANDS_A_SECOND = 50_000

#: Number of nodes for a majority, and of Redis with its replica.
MAJORITY_NODES, REDIS_NODES = 3, 2

_GIB = 1 << 30


@dataclass(frozen=True)
class Load:
    """The load on the system, and the price of its parts.

    Attributes:
        payments: a second at the peak.
        peak_hours: hours a day that the peak would have to last to make the day's payments.
        mails: for each payment.
        charge_seconds: that Stripe takes for a charge.
        years: of payments that are stored.
        retention_days: LOG_RETENTION_DAYS.
        node_cores: of a machine for API and workers.
        mongodb_memory: maximum GiB of a node.
        stripe_limit: calls a second of one endpoint; Stripe raises it on request.
        core_price, memory_price, disk_price: a month, for a core, a GiB of memory, and a GiB of disk.
    """

    payments: float = 100.0
    peak_hours: float = 2.0
    mails: float = 2.0
    charge_seconds: float = 0.3
    years: float = 2.0
    retention_days: float = 90.0
    node_cores: int = 4
    mongodb_memory: int = 64
    stripe_limit: float = float(STRIPE_ENDPOINT_CALLS_A_SECOND)
    core_price: float = 0.0
    memory_price: float = 0.0
    disk_price: float = 0.0


@dataclass(frozen=True)
class Plan:
    """The resources that the load needs. Bytes are upper bounds, because MongoDB compresses documents and
    keys.

    Attributes:
        mongodb_reads: maximum pages read from the disk a second; 0 if every index fits into memory.
    """

    api_processes: int
    worker_processes: int
    app_nodes: int
    stripe_accounts: int
    mongodb_writes: float
    rabbitmq_messages: float
    redis_commands: float
    stored_bytes: float
    index_bytes: float
    mongodb_memory_gib: int
    mongodb_reads: float
    cores: int
    memory_gib: int
    disk_gib: int
    monthly_cost: float


def plan(load: Load) -> Plan:
    """Return the resources that the load needs."""
    by_core = load.payments / API_PAYMENTS_A_SECOND
    by_calls = load.payments * load.charge_seconds / API_GATEWAY_CALLS
    api = max(2, ceil(max(by_core, by_calls)))
    mails = load.payments * load.mails
    workers = max(2, ceil(mails / WORKER_MAILS_A_SECOND))
    nodes = max(2, ceil((api + workers) / load.node_cores)) + 1

    daily = load.payments * load.peak_hours * 3600
    stored = daily * 365 * load.years
    kept_mails = daily * load.mails * load.retention_days
    indexes = stored * PAYMENT_INDEX_BYTES + kept_mails * MAIL_INDEX_BYTES
    documents = stored * PAYMENT_BYTES + kept_mails * MAIL_BYTES + daily * KEY_DAYS * KEY_BYTES
    # WiredTiger's cache is half of the memory above one GiB.
    all_in_memory = ceil(2 * indexes / _GIB) + 1
    memory = min(all_in_memory, load.mongodb_memory)
    reads = load.payments * PAYMENT_RANDOM_KEYS + mails * MAIL_RANDOM_KEYS

    app_memory = ceil((api * API_MIB + workers * WORKER_MIB) / 1024)
    disk = MAJORITY_NODES * ceil((documents + indexes) / _GIB)
    cores = nodes * load.node_cores + (2 * MAJORITY_NODES + REDIS_NODES) * 2
    memory_gib = app_memory + MAJORITY_NODES * (memory + 2) + REDIS_NODES
    cost = cores * load.core_price + memory_gib * load.memory_price + disk * load.disk_price
    return Plan(
        api_processes=api,
        worker_processes=workers,
        app_nodes=nodes,
        stripe_accounts=ceil(load.payments / min(load.stripe_limit, STRIPE_CALLS_A_SECOND)),
        mongodb_writes=load.payments * PAYMENT_WRITES + mails * MAIL_WRITES,
        rabbitmq_messages=mails,
        redis_commands=load.payments * PAYMENT_REDIS_COMMANDS + mails * MAIL_REDIS_COMMANDS,
        stored_bytes=documents,
        index_bytes=indexes,
        mongodb_memory_gib=memory,
        mongodb_reads=0 if memory == all_in_memory else reads,
        cores=cores,
        memory_gib=memory_gib,
        disk_gib=disk,
        monthly_cost=cost,
    )


def limits(load: Load) -> list[tuple[float, str]]:
    """Return the payments a second at which each part is used up, the first limit first."""
    writes = PAYMENT_WRITES + load.mails * MAIL_WRITES
    commands = PAYMENT_REDIS_COMMANDS + load.mails * MAIL_REDIS_COMMANDS
    return sorted(
        [
            (load.stripe_limit, "Stripe: POST /v1/payment_intents of one account"),
            (STRIPE_CALLS_A_SECOND, "Stripe: all calls of one account"),
            (WORKER_MAILS_A_SECOND / (load.mails or 1), "CPU: one worker process"),
            (API_PAYMENTS_A_SECOND, "CPU: one API process"),
            (API_GATEWAY_CALLS / load.charge_seconds, "threads: one API process"),
            (MONGODB_WRITES_A_SECOND / writes, "MongoDB: one primary (assumed)"),
            (RABBITMQ_MESSAGES_A_SECOND / (load.mails or 1), "RabbitMQ: one queue (assumed)"),
            (REDIS_COMMANDS_A_SECOND / commands, "Redis: one server (assumed)"),
        ]
    )


def report(load: Load) -> Iterator[str]:
    """Yield the plan in lines."""
    needed = plan(load)
    yield f"For {load.payments:g} payments a second, each with {load.mails:g} mails:"
    yield ""
    yield f"  API             {needed.api_processes} processes, one core each"
    yield f"  workers         {needed.worker_processes} processes, one core each"
    yield f"  machines        {needed.app_nodes} with {load.node_cores} cores for both, one of them to spare"
    yield f"  Stripe          {needed.stripe_accounts} accounts, or a higher limit"
    yield f"  MongoDB         3 nodes with {needed.mongodb_memory_gib} GiB of memory"
    yield f"                  {needed.mongodb_writes:,.0f} writes a second"
    yield f"                  {needed.stored_bytes / _GIB:,.0f} GiB of documents at most"
    yield f"                  {needed.index_bytes / _GIB:,.0f} GiB of indexes at most"
    if needed.mongodb_reads:
        yield f"                  {needed.mongodb_reads:,.0f} random reads a second at most"
    yield f"  RabbitMQ        3 nodes, {needed.rabbitmq_messages:,.0f} messages a second"
    yield f"  Redis           1 server and a replica, {needed.redis_commands:,.0f} commands a second"
    yield f"  together        {needed.cores} cores"
    yield f"                  {needed.memory_gib:,} GiB of memory"
    yield f"                  {needed.disk_gib:,} GiB of disk"
    if needed.monthly_cost:
        yield f"  a month         {needed.monthly_cost:,.0f}"
    yield ""
    yield "One of each is used up at so many payments a second:"
    yield ""
    for rate, what in limits(load):
        yield f"  {rate:8,.0f}  {what}"


#: Help of each option, by the name of its field in `Load`.
_HELP = {
    "payments": "payments per second at the peak",
    "peak_hours": "hours of each day at the peak rate",
    "mails": "emails for each payment",
    "charge_seconds": "seconds that Stripe takes for a charge",
    "years": "years of stored payments",
    "retention_days": "days of stored deliveries (LOG_RETENTION_DAYS)",
    "node_cores": "cores of a machine for the API and the workers",
    "mongodb_memory": "maximum GiB of memory of a MongoDB node",
    "stripe_limit": "Stripe's rate limit of one endpoint, in calls per second",
    "core_price": "monthly price of a core",
    "memory_price": "monthly price of a GiB of memory",
    "disk_price": "monthly price of a GiB of disk",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a plan."""
    parser = argparse.ArgumentParser(prog="devtools.capacity", description=__doc__.splitlines()[0])
    for field in fields(Load):
        option = f"--{field.name.replace('_', '-')}"
        about = f"{_HELP[field.name]} (default: {field.default:g})"
        parser.add_argument(
            option, type=type(field.default), default=field.default, metavar="NUMBER", help=about
        )
    load = Load(**vars(parser.parse_args(arguments)))
    print("\n".join(report(load)))  # noqa: T201


if __name__ == "__main__":
    main()
