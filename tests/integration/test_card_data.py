"""Card numbers and security codes: sent in every notation, then searched for in every store and log."""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
import pymongo
import pytest
import redis
import requests

from app import create_app
from tests.support.cards import NOTATIONS
from tests.support.commands import environment
from tests.support.processes import Process
from tests.support.servers import ApiServer
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

#: Cards that pay, are declined in three ways, need 3-D Secure, have a longer CVV, are unknown to the
#: simulator, or fail the Luhn check.
NUMBERS = (
    "4242424242424242",
    "4000000000000002",
    "4000000000009995",
    "4000000000000069",
    "4000002500003155",
    "378282246310005",
    "4539578763621486",
    "4242424242424241",
)
CVV, CVV_AMEX = "739", "7391"
PAYMENT = {
    "user_id": "user_1",
    "user_email": "jane.doe@example.com",
    "user_name": "Jane Doe",
    "user_phone": "+14155550123",
    "customer_ip": "198.51.100.77",
    "amount": 50,
    "payment_method": "credit_card",
}


FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "drop_after"},
    {"kind": "malformed"},
    {"kind": "error", "status": 500},
    {"kind": "delay", "seconds": 60},
)


def forms(number: str) -> list[str]:
    """Notations of a number by people and by programs that encode it."""
    grouped = [number[start : start + 4] for start in range(0, len(number), 4)]
    return [number, " ".join(grouped), "-".join(grouped), "+".join(grouped), "%20".join(grouped)]


FOUND = re.compile("|".join(re.escape(form) for number in NUMBERS for form in forms(number)))
#: The number of `NOTATIONS`, with any separators.
FOUND_NOTATION = re.compile(r"\D{0,12}".join("5105105105105100"))
#: A separate code of three digits, not part of a time, an amount, or an id.
FOUND_CODE = re.compile(rf"(?<![\w.:-]){CVV}1?(?![\w.:-])")


def requests_with_misplaced_cards() -> Iterator[Any]:
    """Bodies of POST /payment/process with a card number in a wrong field, in every notation."""
    fields = itertools.cycle(
        (
            lambda text: {"user_name": text},
            lambda text: {"user_id": text},
            lambda text: {"booking_id": text},
            lambda text: {"user_email": f"{text}@example.com"},
            lambda text: {"user_phone": text},
            lambda text: {"return_url": f"https://shop.example.com/{text}"},
            lambda text: {"payment_token": f"pm_{text}"},
            lambda text: {"metadata": {"note": text}},
            lambda text: {"metadata": {text: "note"}},
            lambda text: {"paypal_details": {"payment_id": text}},
            lambda text: {text: "unknown"},
        )
    )
    for number, notation in enumerate(NOTATIONS * 3):
        yield PAYMENT | {"booking_id": f"M-{number}"} | next(fields)(notation)


def requests_with_cards() -> Iterator[Any]:
    """Bodies of POST /payment/process: valid, invalid, and broken."""
    payments = (PAYMENT | {"booking_id": f"B-{number}"} for number in itertools.count(1))
    for number in NUMBERS:
        cvv = CVV_AMEX if number.startswith("37") else CVV
        card = {"card_number": number, "expiry_month": 12, "expiry_year": 2035, "cvv": cvv}
        for form in forms(number)[:3]:
            yield next(payments) | {"card_details": card | {"card_number": form}}
        yield PAYMENT | {"booking_id": "", "card_details": card}
        yield next(payments) | {"card_details": card | {"expiry_year": 2001}}
        yield next(payments) | {"card_details": card | {"cvv": cvv + "11"}}
        yield next(payments) | {"card_details": card, "unknown": card}
        yield next(payments) | {"card_details": [card]}
        yield next(payments) | {"card_details": card, "amount": number}
        yield next(payments) | {"card_details": card, "payment_token": number}
        yield f'{{"card_details": {{"card_number": "{number}", "cvv": "{cvv}"'.encode()
        yield f"card_number={number}&cvv={cvv}".encode()


def everything_stored(settings: Settings) -> str:
    """Return every document of every collection, and every key of Redis with its value."""
    with pymongo.MongoClient[dict[str, Any]](settings.mongodb_uri) as client:
        database = client.get_default_database()
        seen = [repr(list(database[name].find())) for name in database.list_collection_names()]
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as store:
        for key in store.scan_iter(f"{settings.namespace}*", count=1000):
            seen += [key, str(_value(store, key))]
    return "\n".join(seen)


def _value(store: Any, key: str) -> Any:
    readers = {
        "string": store.get,
        "hash": store.hgetall,
        "set": store.smembers,
        "zset": lambda name: store.zrange(name, 0, -1),
        "list": lambda name: store.lrange(name, 0, -1),
    }
    return readers[store.type(key)](key)


def everything_published(settings: Settings) -> str:
    """Return body and properties of every message on the broker."""
    seen = []
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        channel = connection.channel()
        for queue, suffix in itertools.product(("booking_events", "payment_events"), ("", ".DQ", ".XQ")):
            while True:
                method, properties, body = channel.basic_get(
                    f"{settings.namespace}notification.{queue}{suffix}"
                )
                if method is None or body is None:
                    break
                seen.append(f"{method.routing_key} {properties} {body.decode()}")
    return "\n".join(seen)


def assert_clean(place: str, text: str) -> None:
    assert text, f"nothing to look through in {place}"
    text = unicodedata.normalize("NFKC", text)
    for pattern in (FOUND, FOUND_NOTATION, FOUND_CODE):
        hit = pattern.search(text)
        assert hit is None, f"in {place}: …{text[max(0, hit.start() - 80) : hit.end() + 20]}…"


def test_card_numbers_are_stored_and_logged_nowhere(
    rabbit_settings: Settings, private_stripe: StripeSimulator, tmp_path: Path
) -> None:
    loud = {
        "log_level": "DEBUG",
        "ratelimit_enabled": True,
        "ratelimit_payments": "10000 per minute",
        "card_attempt_limits": "none",
    }
    impatient = {"payment_gateway_read_timeout": 3.0, "payment_gateway_max_retries": 1}
    settings = rabbit_settings.model_copy(update=private_stripe.settings | loud | impatient)
    api = ApiServer(tmp_path / "api", settings)
    api.start()
    responses = []
    faults = itertools.cycle(FAULTS)
    for number, body in enumerate(requests_with_cards()):
        if number % 7 == 0:
            private_stripe.fault(match="POST /v1/payment_intents", **next(faults))
        raw = {"data": body} if isinstance(body, bytes) else {"json": body}
        headers = {"Content-Type": "application/json", "Idempotency-Key": f"key-{number}"}
        response = requests.post(f"{api.url}/payment/process", headers=headers, timeout=20, **raw)
        responses.append(f"{response.headers} {response.text}")
        assert response.status_code < 500, response.text
    assert any('"success"' in response for response in responses)
    for body in requests_with_misplaced_cards():
        response = requests.post(f"{api.url}/payment/process", json=body, timeout=20)
        responses.append(f"{response.headers} {response.text}")
        assert (response.status_code, response.json()["error"]["code"]) == (422, "VALIDATION_ERROR"), body
    for header in ("X-Request-ID", "Idempotency-Key"):
        sent = {header: "5105-1051-0510-5100"}
        response = requests.post(f"{api.url}/payment/process", json=PAYMENT, headers=sent, timeout=20)
        responses.append(f"{response.headers} {response.text}")
        assert list(response.json()["error"]["details"]["fields"]) == [header]
    for path in (f"/payment/status/{NUMBERS[0]}", f"/payment/booking/{NUMBERS[0]}?card={NUMBERS[0]}"):
        requests.get(f"{api.url}{path}", timeout=5)
    with pika.BlockingConnection(pika.URLParameters(settings.rabbitmq_url)) as connection:
        queue = f"{settings.namespace}notification.payment_events"
        channel = connection.channel()
        wait_for(lambda: channel.queue_declare(queue, passive=True).method.message_count, 10, "no events")
    published = everything_published(settings)
    # The worker logs at debug level too.
    with Process(
        [sys.executable, "-m", "cli.main", "worker", "--threads", "1"],
        tmp_path / "worker.log",
        env=environment(settings),
    ) as worker:
        worker.wait_until(lambda: "ready for action" in worker.output())
    api.stop()

    assert_clean("the broker", published)
    assert_clean("the answers", "\n".join(responses))
    assert_clean("what is stored", everything_stored(settings))
    assert_clean("the API's log", api.output())
    assert_clean("the worker's log", (tmp_path / "worker.log").read_text())
    for log in (api.output(), (tmp_path / "worker.log").read_text()):
        assert '"level": "debug"' in log
        found = [
            line for line in log.splitlines() if re.search(r"(?i)jane|\+14155550123|198\.51\.100\.77", line)
        ]
        assert found == [], "personal data at DEBUG"


def test_a_crash_report_contains_no_card_number(
    stored_settings: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def crash(card: Any, _now: Any) -> None:
        raise RuntimeError(f"crashed with {card.number} in {card!r}")

    monkeypatch.setattr("app.payments.service.check_card", crash)
    app = create_app(stored_settings.model_copy(update={"log_level": "DEBUG"}))
    body = next(requests_with_cards())
    response = app.test_client().post("/payment/process", json=body)
    assert (response.status_code, response.json["error"]["code"]) == (500, "INTERNAL_ERROR")
    assert_clean("the answer", response.text)
    logged = "".join(capfd.readouterr())
    assert "RuntimeError: crashed with [card number]" in logged
    assert_clean("the log", logged)
