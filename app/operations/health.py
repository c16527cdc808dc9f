"""Health probes of every dependency, shared by the API, the command line, and the dashboard.

GET /health/ready, `movieapp check` and the dashboard each pick probes by name from `PROBES`. A probe changes
nothing, sends nothing to customers, and reveals no secret.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pymongo
import redis
from pymongo.errors import PyMongoError

from app import models
from app.channels import ChannelName
from app.clock import utcnow
from app.errors import Problem
from app.keys.store import list_keys
from app.messaging.depths import queue_depths
from app.models import Notification, database, storage_errors
from app.operations.server_kinds import mongodb_refusal, queue_refusal, redis_refusal
from app.payments.ledger.mongo import MongoLedger
from app.payments.outbox import backlog
from app.payments.webhooks import last_received
from app.settings import Broker
from app.suppressions.pause import measure
from app.suppressions.store import listed

if TYPE_CHECKING:
    from app.settings import Settings

#: Default timeout of a probe, in seconds.
PROBE_TIMEOUT_SECONDS = 2.0

#: Clock difference at which Stripe's webhook signatures are refused: the tolerance of their timestamps.
_SKEW_REFUSED_SECONDS = 300
_SKEW_NOTICED_SECONDS = 30

#: Age at which open work is overdue.
_OVERDUE_AFTER = timedelta(minutes=1)
#: Time without webhooks after which a warning is shown.
_WEBHOOK_SILENCE = timedelta(days=1)

#: Age of a worker's heartbeat that means the worker is down.
_HEARTBEAT_SECONDS = 30

#: Open records are counted up to this number.
_COUNT_LIMIT = 1_000

_PORTS = {"amqp": 5672, "amqps": 5671, "redis": 6379, "rediss": 6379}


class Level(StrEnum):
    """How serious a finding is. Only `BAD` fails a check."""

    OK = "ok"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """The result of a probe.

    Attributes:
        check: name of the check.
        what: the state, for an operator.
        advice: what to do; "" if nothing.
    """

    check: str
    level: Level
    what: str
    advice: str = ""


#: Takes the settings and the seconds that one call to a server may take.
Probe = Callable[["Settings", float], Iterator[Finding]]


def _settings(settings: Settings, _timeout: float) -> Iterator[Finding]:
    mode = "live" if settings.is_gateway_live else "test"
    yield Finding("settings", Level.OK, f"{settings.app_env}, {mode} mode of the gateway")


def _mongodb(_settings: Settings, timeout: float) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        with pymongo.timeout(timeout):  # also limits the selection of a server, unlike maxTimeMS
            hello = database().command("hello")
            reason = mongodb_refusal(database().client)
    except PyMongoError as error:
        advice = "Check MONGODB_URI, and that MongoDB runs."
        yield Finding("mongodb", Level.BAD, type(error).__name__, advice)
        return
    if reason:
        yield _refused("mongodb", reason)
        return
    milliseconds = (time.monotonic() - started) * 1000
    replica_set = hello.get("setName") or "no replica set"
    yield Finding("mongodb", Level.OK, f"responds in {milliseconds:.0f} ms, {replica_set}")


def _indexes(_settings: Settings, _timeout: float) -> Iterator[Finding]:
    with storage_errors():
        missing = models.missing_indexes()
        obsolete = models.obsolete_indexes()
    if missing:
        advice = "A worker builds missing indexes when it starts. To build them now, run movieapp migrate."
        yield Finding("indexes", Level.WARNING, f"missing: {', '.join(missing)}", advice)
    if obsolete:
        advice = "Once every process runs this version, run movieapp migrate --drop-obsolete."
        yield Finding("indexes", Level.WARNING, f"obsolete: {', '.join(obsolete)}", advice)
    if not missing and not obsolete:
        yield Finding("indexes", Level.OK, "complete")


def _redis(settings: Settings, timeout: float) -> Iterator[Finding]:
    try:
        with redis.Redis.from_url(
            settings.redis_url, socket_connect_timeout=timeout, socket_timeout=timeout
        ) as client:
            client.ping()
            reason = redis_refusal(client)
    except redis.RedisError as error:
        advice = (
            "Check REDIS_URL, and that Redis runs. Payments and emails continue without Redis, but slower."
        )
        yield Finding("redis", Level.BAD, type(error).__name__, advice)
        return
    if reason:
        yield _refused("redis", reason)
    else:
        yield Finding("redis", Level.OK, "responds")


def _refused(check: str, reason: str) -> Finding:
    """Return the finding about a server of a kind that is refused at start, too."""
    what, _, advice = reason.partition(". ")
    return Finding(check, Level.BAD, what, advice)


def _broker(settings: Settings, timeout: float) -> Iterator[Finding]:
    """Connect by TCP only. The probe `queues` checks the login."""
    if settings.broker is Broker.MEMORY:
        yield Finding("broker", Level.OK, "in memory")
        return
    parts = urlsplit(settings.rabbitmq_url)
    try:
        address = (parts.hostname or "localhost", parts.port or _PORTS[parts.scheme])
        socket.create_connection(address, timeout).close()
    except OSError as error:
        advice = "Check RABBITMQ_URL. Payments continue, events wait, and no emails are sent."
        yield Finding("broker", Level.BAD, error.strerror or type(error).__name__, advice)
    else:
        yield Finding("broker", Level.OK, f"{settings.broker} accepts connections")


def _queues(settings: Settings, _timeout: float) -> Iterator[Finding]:
    try:
        depths = queue_depths(settings)
    except Problem as problem:
        yield Finding(
            "queues", Level.BAD, problem.message, "Check the server and the password in RABBITMQ_URL."
        )
        return
    yield Finding("queue depth", Level.OK, f"{sum(depth.ready for depth in depths)} messages wait")
    if settings.broker is Broker.RABBITMQ:
        yield from _server_version(settings)
    yield from _queue_states(settings)
    for depth in depths:
        if depth.unavailable:
            what = f"{depth.queue} is on a node that is down"
            yield Finding(
                "queues",
                Level.BAD,
                what,
                "Start the node. rabbitmqctl cluster_status shows which node is down.",
            )
    dead = {depth.queue: depth.dead for depth in depths if depth.dead}
    if dead:
        counts = ", ".join(f"{count} in {queue}" for queue, count in dead.items())
        yield Finding(
            "dead letters",
            Level.BAD,
            counts,
            "Run movieapp dead-letters list, fix the causes, and run movieapp dead-letters replay.",
        )
    else:
        yield Finding("dead letters", Level.OK, "none")


def _server_version(settings: Settings) -> Iterator[Finding]:
    from app.messaging.inspection import MINIMUM_VERSION, server_version

    version = server_version(settings)
    shown, minimum = (".".join(map(str, numbers)) for numbers in (version, MINIMUM_VERSION))
    if version >= MINIMUM_VERSION:
        yield Finding("rabbitmq", Level.OK, f"version {shown}")
    else:
        what = f"version {shown or 'unknown'} is older than {minimum}"
        advice = "Upgrade RabbitMQ: CC and BCC headers bypass topic permissions (docs/rabbitmq-access.md)."
        yield Finding("rabbitmq", Level.WARNING, what, advice)


def _queue_states(settings: Settings) -> Iterator[Finding]:
    """Report differing declarations and missing consumers on RabbitMQ."""
    from app.messaging.inspection import inspect_queues

    for queue in inspect_queues(settings):
        if reason := queue_refusal(queue.name, queue.failure):
            yield _refused("queues", reason)
        elif queue.failure:
            yield Finding(
                "queues", Level.BAD, f"{queue.name}: {queue.failure}", "See RabbitMQ in docs/deployment.md."
            )
        elif not queue.declared:
            advice = "Start a worker, which declares the queue."
            yield Finding("queues", Level.WARNING, f"{queue.name} is not declared", advice)
        elif not queue.consumers:
            advice = "To start a worker, run movieapp worker."
            yield Finding("queues", Level.BAD, f"{queue.name} has no consumer", advice)
        else:
            what = f"{queue.name}: {queue.consumers} consumers, arguments and binding match"
            yield Finding("queues", Level.OK, what)


def _gateway(settings: Settings, _timeout: float) -> Iterator[Finding]:
    if settings.payment_gateway_api_key.get_secret_value():
        yield Finding("gateway", Level.OK, "live mode" if settings.is_gateway_live else "test mode")
    else:
        advice = "Set PAYMENT_GATEWAY_API_KEY."
        yield Finding("gateway", Level.BAD, "PAYMENT_GATEWAY_API_KEY is not set", advice)


def _gateway_api(settings: Settings, timeout: float) -> Iterator[Finding]:
    """Call the gateway with our key, and compare its clock with this machine's."""
    if not settings.payment_gateway_api_key.get_secret_value():
        return
    from app.gateway import make_gateway

    quick = {"payment_gateway_max_retries": 0, "payment_gateway_read_timeout": max(timeout, 5.0)}
    started = time.monotonic()
    try:
        gateway_time = make_gateway(settings.model_copy(update=quick)).clock()
    except Problem as problem:
        advice = "Check PAYMENT_GATEWAY_API_KEY, the network, and status.stripe.com."
        yield Finding("gateway", Level.BAD, problem.message, advice)
        return
    seconds = time.monotonic() - started
    yield Finding("gateway", Level.OK, f"accepts the key, responds in {seconds * 1000:.0f} ms")
    # The Date header has whole seconds, and was written at least half a round trip ago.
    skew = max(0.0, abs((utcnow() - gateway_time).total_seconds()) - seconds - 1)
    level = (
        Level.BAD
        if skew > _SKEW_REFUSED_SECONDS
        else Level.WARNING
        if skew > _SKEW_NOTICED_SECONDS
        else Level.OK
    )
    advice = (
        ""
        if level is Level.OK
        else "Synchronize this machine's clock with NTP. With a wrong clock, the API refuses webhooks."
    )
    yield Finding("clock", level, f"differs from the gateway's clock by {skew:.0f} s", advice)


def _webhooks(settings: Settings, _timeout: float) -> Iterator[Finding]:
    if not settings.webhook_secrets:
        advice = "Set STRIPE_WEBHOOK_SECRET. Without webhooks, 3-D Secure payments wait for the next sweep."
        yield Finding("webhooks", Level.WARNING, "STRIPE_WEBHOOK_SECRET is not set", advice)
        return
    received = last_received()
    if received is None:
        advice = "Check the endpoint's URL at Stripe. Stripe's dashboard shows failed deliveries."
        yield Finding("webhooks", Level.WARNING, "none received in two weeks", advice)
    else:
        level = Level.OK if utcnow() - received < _WEBHOOK_SILENCE else Level.WARNING
        yield Finding("webhooks", level, f"the last arrived {_ago(received)}")


def _outbox(_settings: Settings, _timeout: float) -> Iterator[Finding]:
    waiting, since = backlog()
    what = f"{waiting} transactions have unpublished events"
    if since and utcnow() - since > _OVERDUE_AFTER:
        advice = "Check that the broker and a worker run. A worker publishes events that the API could not."
        yield Finding("outbox", Level.BAD, f"{what}, the oldest from {_ago(since)}", advice)
    else:
        yield Finding("outbox", Level.OK, what if waiting else "empty")


def _overdue(_settings: Settings, _timeout: float) -> Iterator[Finding]:
    before = utcnow() - _OVERDUE_AFTER
    with storage_errors():
        payments = MongoLedger().count_overdue(before)
        deliveries = Notification.objects(due_at__lt=before).limit(_COUNT_LIMIT).count(True)
    for name, count in (("open payments", payments), ("open deliveries", deliveries)):
        if count:
            advice = "Check that a worker runs. Workers process overdue payments, emails, and SMS."
            yield Finding(name, Level.BAD, f"{count} overdue", advice)
        else:
            yield Finding(name, Level.OK, "none overdue")


def _disputes(_settings: Settings, _timeout: float) -> Iterator[Finding]:
    open_disputes = [
        dispute
        for payment in MongoLedger().disputed(_COUNT_LIMIT)
        for dispute in payment.disputes
        if not dispute.closed
    ]
    if not open_disputes:
        yield Finding("disputes", Level.OK, "none open")
        return
    due = min((dispute.evidence_due_by for dispute in open_disputes if dispute.evidence_due_by), default=None)
    by = f", evidence due by {due:%Y-%m-%d}" if due else ""
    advice = "Respond in Stripe's dashboard. Without evidence, the bank refunds the customer."
    yield Finding("disputes", Level.WARNING, f"{len(open_disputes)} open{by}", advice)


def _stray_charges(_settings: Settings, _timeout: float) -> Iterator[Finding]:
    kept = MongoLedger().kept_stray_charges(_COUNT_LIMIT)
    if not kept:
        yield Finding("stray charges", Level.OK, "none kept")
        return
    what = f"{len(kept)} failed payments were charged and not refunded, such as {kept[0].id}"
    advice = "To refund the charges, run movieapp payments reconcile --repair, or use Stripe's dashboard."
    yield Finding("stray charges", Level.WARNING, what, advice)


def _suppressions(settings: Settings, _timeout: float) -> Iterator[Finding]:
    if not settings.suppression_key.get_secret_value():
        advice = "Set the same SUPPRESSION_KEY (openssl rand -hex 32) for the API and the workers."
        production = settings.app_env == "production"
        level = Level.WARNING if production else Level.OK
        what = "SUPPRESSION_KEY is not set: a built-in key hashes the addresses"
        yield Finding("suppressions", level, what, advice if production else "")
    for channel in ChannelName:
        rate = measure(channel, utcnow())
        if rate.is_paused:
            advice = f"Look for the cause: movieapp notifications list --channel {channel} --since 1h"
            what = f"{channel}: paused, {rate.bounced} messages bounced within an hour"
            yield Finding("suppressions", Level.BAD, what, advice)
            return
    with storage_errors():
        count = listed().limit(_COUNT_LIMIT).count(True)
    yield Finding("suppressions", Level.OK, f"{count} recipients suppressed")


def _worker(settings: Settings, _timeout: float) -> Iterator[Finding]:
    beat = settings.worker_heartbeat_file
    if beat is None:
        return
    try:
        age = time.time() - beat.stat().st_mtime
    except OSError:
        age = float("inf")
    if age > _HEARTBEAT_SECONDS:
        advice = "To start a worker, run movieapp worker. The log says why the last one stopped."
        yield Finding("worker", Level.BAD, f"no heartbeat in {beat}", advice)
    else:
        yield Finding("worker", Level.OK, f"last heartbeat {age:.0f} s ago")


def _keys(settings: Settings, _timeout: float) -> Iterator[Finding]:
    in_force = sum(key.revoked_at is None for key in list_keys())
    if not settings.auth_required:
        yield Finding(
            "api keys", Level.WARNING, "not required, so everyone may use the API", "Set AUTH_REQUIRED=1."
        )
    elif in_force:
        yield Finding("api keys", Level.OK, f"{in_force} active")
    else:
        advice = "To create a key, run movieapp keys create NAME --scope payments:write."
        yield Finding("api keys", Level.BAD, "none active", advice)


def _ago(then: datetime) -> str:
    seconds = int((utcnow() - then).total_seconds())
    size, unit = next(
        (size, unit)
        for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
        if seconds >= size or size == 1
    )
    return f"{seconds // size} {unit} ago"


#: Name → probe, in the order in which they are shown.
PROBES: dict[str, Probe] = {
    "settings": _settings,
    "mongodb": _mongodb,
    "indexes": _indexes,
    "redis": _redis,
    "broker": _broker,
    "queues": _queues,
    "worker": _worker,
    "outbox": _outbox,
    "overdue": _overdue,
    "disputes": _disputes,
    "stray charges": _stray_charges,
    "suppressions": _suppressions,
    "gateway": _gateway,
    "gateway api": _gateway_api,
    "webhooks": _webhooks,
    "api keys": _keys,
}


def run_probe(
    name: str, probe: Probe, settings: Settings, timeout: float = PROBE_TIMEOUT_SECONDS
) -> list[Finding]:
    """Run one probe. A probe that fails is itself a finding."""
    try:
        return list(probe(settings, timeout))
    except Problem as problem:
        return [Finding(name, Level.BAD, f"unknown: {problem.message}")]


def run_probes(
    probes: dict[str, Probe], settings: Settings, timeout: float = PROBE_TIMEOUT_SECONDS
) -> list[Finding]:
    """Run probes concurrently, a thread for each. Return their findings in order."""
    with ThreadPoolExecutor(len(probes)) as pool:
        found = pool.map(lambda item: run_probe(item[0], item[1], settings, timeout), probes.items())
        return [finding for findings in found for finding in findings]


def pick(*names: str) -> dict[str, Probe]:
    """Return the probes of those names, in their order."""
    return {name: PROBES[name] for name in names}
