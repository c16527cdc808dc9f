"""What `movieapp check` looks at: a row each, with what to do about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import redis
from pymongo.errors import PyMongoError

from app import models
from app.clock import utcnow
from app.errors import Problem
from app.events.outbox import backlog
from app.keys.store import list_keys
from app.messaging.depths import queue_depths
from app.models import Notification, Transaction, database, storage_errors
from app.payments.webhooks import last_received

if TYPE_CHECKING:
    from app.settings import Settings

Level = Literal["ok", "warning", "bad"]

#: A webhook is refused if the clocks are further apart (the tolerance of its signature).
_SKEW_ALLOWED = 300
_SKEW_NOTICED = 30

#: What may be late before somebody should look.
_LATE = timedelta(minutes=1)
_SILENT = timedelta(days=1)

#: Seconds after which a worker's heartbeat is old.
_HEARTBEAT = 30


@dataclass(frozen=True)
class Finding:
    """How one thing is.

    Attributes:
        check: what was looked at.
        what: in words; names no secret.
        advice: what to do, if something is to be done.
    """

    check: str
    level: Level
    what: str
    advice: str = ""


Check = Callable[["Settings"], Iterator[Finding]]


def _settings(settings: Settings) -> Iterator[Finding]:
    mode = "live" if settings.gateway_live else "test"
    yield Finding("settings", "ok", f"{settings.app_env}, {mode} mode of the gateway")


def _mongodb(_settings: Settings) -> Iterator[Finding]:
    started = time.monotonic()
    try:
        hello = database().command("hello")
        lacking = _lacking_indexes()
    except PyMongoError as error:
        yield Finding("mongodb", "bad", type(error).__name__, "Is MONGODB_URI right, and MongoDB running?")
        return
    milliseconds = (time.monotonic() - started) * 1000
    set_name = hello.get("setName")
    yield Finding("mongodb", "ok", f"answers in {milliseconds:.0f} ms, {set_name or 'no replica set'}")
    if lacking:
        advice = "They are made when the API or a worker first uses the collection: start one."
        yield Finding("indexes", "warning", f"not there: {', '.join(lacking)}", advice)
    else:
        yield Finding("indexes", "ok", "all there")


def _lacking_indexes() -> list[str]:
    lacking = []
    for record in models.RECORDS:
        collection = database()[record._get_collection_name()]
        standing = [[tuple(key) for key in index["key"]] for index in collection.index_information().values()]
        wanted = [list(spec["fields"]) for spec in record._meta["index_specs"]]
        lacking += [
            f"{collection.name}({', '.join(name for name, _ in fields)})"
            for fields in wanted
            if fields not in standing
        ]
    return lacking


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        with redis.Redis.from_url(settings.redis_url, socket_connect_timeout=2, socket_timeout=2) as client:
            client.ping()
    except redis.RedisError as error:
        advice = "Mails still go out once and payments work, slower. Is REDIS_URL right, and Redis running?"
        yield Finding("redis", "bad", type(error).__name__, advice)
    else:
        yield Finding("redis", "ok", "answers")


def _broker(settings: Settings) -> Iterator[Finding]:
    try:
        depths = queue_depths(settings)
    except Problem as problem:
        advice = "Payments go on, their events wait in the outbox; no mail goes out. Is RABBITMQ_URL right?"
        yield Finding("broker", "bad", problem.message, advice)
        return
    yield Finding("broker", "ok", f"answers; {sum(depth.ready for depth in depths)} messages wait")
    if urlsplit(settings.rabbitmq_url).scheme.startswith("amqp"):
        yield from _queues(settings)
    dead = {depth.queue: depth.dead for depth in depths if depth.dead}
    if dead:
        told = ", ".join(f"{count} in {queue}" for queue, count in dead.items())
        yield Finding("dead letters", "bad", told, "movieapp dead-letters list, show and replay")
    else:
        yield Finding("dead letters", "ok", "none")


def _queues(settings: Settings) -> Iterator[Finding]:
    """What only RabbitMQ has: declarations that may differ, and consumers that may be missing."""
    from app.messaging.inspection import inspect_queues

    for queue in inspect_queues(settings):
        if queue.wrong:
            yield Finding("queues", "bad", f"{queue.name}: {queue.wrong}", "docs/deployment.md, queues")
        elif not queue.declared:
            yield Finding(
                "queues", "warning", f"{queue.name} is not declared", "Start a worker: it declares it."
            )
        elif not queue.consumers:
            advice = "Nobody consumes: start a worker (movieapp worker)."
            yield Finding("queues", "bad", f"{queue.name} has no consumer", advice)
        else:
            yield Finding("queues", "ok", f"{queue.name}: {queue.consumers} consumers, bound as it should be")


def _gateway(settings: Settings) -> Iterator[Finding]:
    if not settings.payment_gateway_api_key.get_secret_value():
        yield Finding("gateway", "bad", "no key", "Set PAYMENT_GATEWAY_API_KEY.")
        return
    from app.gateway import StripeGateway

    quick = {"payment_gateway_max_retries": 0, "payment_gateway_read_timeout": 5.0}
    started = time.monotonic()
    try:
        its_time = StripeGateway(settings.model_copy(update=quick)).clock()
    except Problem as problem:
        advice = "Is PAYMENT_GATEWAY_API_KEY right, and does the network let calls out? status.stripe.com"
        yield Finding("gateway", "bad", problem.message, advice)
        return
    seconds = time.monotonic() - started
    yield Finding("gateway", "ok", f"takes our key, answers in {seconds * 1000:.0f} ms")
    # Its Date has whole seconds, and is as old as half of the way at least.
    skew = abs((utcnow() - its_time).total_seconds()) - seconds - 1
    level: Level = "bad" if skew > _SKEW_ALLOWED else "warning" if skew > _SKEW_NOTICED else "ok"
    advice = "" if level == "ok" else "Let NTP set this machine's clock: webhooks will be refused."
    yield Finding("clock", level, f"{max(0, skew):.0f} s from the gateway's", advice)


def _webhooks(settings: Settings) -> Iterator[Finding]:
    if not settings.webhook_secrets:
        advice = "Set STRIPE_WEBHOOK_SECRET: without webhooks 3-D Secure waits for the next sweep."
        yield Finding("webhooks", "warning", "no secret", advice)
        return
    heard = last_received()
    if heard is None:
        advice = "Has Stripe the address of /payment/webhook? Its dashboard shows failed deliveries."
        yield Finding("webhooks", "warning", "none came in two weeks", advice)
    else:
        level: Level = "ok" if utcnow() - heard < _SILENT else "warning"
        yield Finding("webhooks", level, f"the last came {_ago(heard)}")


def _outbox(_settings: Settings) -> Iterator[Finding]:
    waiting, since = backlog()
    if since and utcnow() - since > _LATE:
        advice = "Is the broker there, and a worker running? It publishes what the API could not."
        yield Finding("outbox", "bad", f"{waiting} transactions wait, the first since {_ago(since)}", advice)
    else:
        yield Finding("outbox", "ok", f"{waiting} transactions wait" if waiting else "empty")


def _overdue(_settings: Settings) -> Iterator[Finding]:
    before = utcnow() - _LATE
    with storage_errors():
        payments = Transaction.objects(recover_after__lt=before).limit(1_000).count(True)
        deliveries = Notification.objects(due_at__lt=before).limit(1_000).count(True)
    for name, count in (("open payments", payments), ("open deliveries", deliveries)):
        if count:
            advice = "A worker's sweep takes them: is one running? movieapp payments list --status pending"
            yield Finding(name, "bad", f"{count} should have been finished", advice)
        else:
            yield Finding(name, "ok", "none is overdue")


def _worker(settings: Settings) -> Iterator[Finding]:
    beat = settings.worker_heartbeat_file
    if beat is None:
        return
    try:
        age = time.time() - beat.stat().st_mtime
    except OSError:
        age = float("inf")
    if age > _HEARTBEAT:
        yield Finding("worker", "bad", f"no heartbeat in {beat}", "Start it: movieapp worker. See its log.")
    else:
        yield Finding("worker", "ok", f"its heart beat {age:.0f} s ago")


def _smtp(settings: Settings) -> Iterator[Finding]:
    from cli.smtp_check import probe

    told = probe(settings.model_copy(update={"smtp_timeout": min(settings.smtp_timeout, 5.0)}))
    if told.failed:
        yield Finding("smtp", "bad", str(told.failed), told.advice or "movieapp smtp-check shows each step.")
        return
    until = f", certificate until {told.expires:%Y-%m-%d}" if told.expires else ""
    advice = "Renew the mail server's certificate." if told.expiring else ""
    yield Finding("smtp", "bad" if told.expiring else "ok", f"ready to send{until}", advice)


def _keys(settings: Settings) -> Iterator[Finding]:
    in_force = sum(key.revoked_at is None for key in list_keys())
    if settings.auth_required and not in_force:
        yield Finding(
            "api keys", "bad", "none is in force", "movieapp keys create NAME --scope payments:write"
        )
    elif not settings.auth_required:
        yield Finding("api keys", "warning", "not required: everybody may pay", "Set AUTH_REQUIRED=1.")
    else:
        yield Finding("api keys", "ok", f"{in_force} in force")


def _ago(then: datetime) -> str:
    seconds = int((utcnow() - then).total_seconds())
    size, unit = next(
        (size, unit)
        for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
        if seconds >= size or size == 1
    )
    return f"{seconds // size} {unit} ago"


#: In the order in which they are told. Each is done in a thread of its own.
CHECKS: tuple[Check, ...] = (
    _settings,
    _mongodb,
    _redis,
    _broker,
    _worker,
    _outbox,
    _overdue,
    _gateway,
    _webhooks,
    _smtp,
    _keys,
)


def look(check: Check, settings: Settings) -> list[Any]:
    """The findings of one check. What it can't know is told, not raised."""
    try:
        return list(check(settings))
    except Problem as problem:
        name = check.__name__.removeprefix("_").replace("_", " ")
        return [Finding(name, "bad", f"unknown: {problem.message}")]
