"""The minimum for a payment, without a framework: one insert, one gateway call over a kept connection, one
update, and one confirmed publish. No validation, no idempotency, no recovery.

`app` calls the gateway with a `requests.Session`, as most programs would; `lean` uses urllib3 directly.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

import pika
import pymongo
import requests
import urllib3

from app.settings import load_settings

#: A WSGI application.
Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_settings = load_settings()
_url = f"{_settings.payment_gateway_url}/v1/payment_intents"
_bearer = {"Authorization": f"Bearer {_settings.payment_gateway_api_key.get_secret_value()}"}
_pool = urllib3.PoolManager(maxsize=_settings.web_threads, timeout=8)
_local = threading.local()
_mongo: pymongo.MongoClient[dict[str, Any]] | None = None


def _by_requests(form: dict[str, Any], headers: dict[str, str]) -> str:
    response = _local.session.post(_url, data=form, headers=headers, timeout=(2, 8))
    response.raise_for_status()
    return str(response.json()["id"])


def _by_urllib3(form: dict[str, Any], headers: dict[str, str]) -> str:
    headers = headers | {"Content-Type": "application/x-www-form-urlencoded"}
    response = _pool.request("POST", _url, body=urlencode(form), headers=headers)
    if response.status != 200:
        raise RuntimeError(response.status)
    return str(response.json()["id"])


def _collection() -> Any:
    global _mongo
    _mongo = _mongo or pymongo.MongoClient(_settings.mongodb_uri, w="majority")
    return _mongo.get_default_database()["minimum"]


def _channel() -> Any:
    if not hasattr(_local, "channel"):
        connection = pika.BlockingConnection(pika.URLParameters(_settings.rabbitmq_url))
        _local.channel = connection.channel()
        _local.channel.exchange_declare(_settings.rabbitmq_exchange, exchange_type="topic", durable=True)
        _local.channel.confirm_delivery()
        _local.session = requests.Session()
    return _local.channel


def _charging(charge: Callable[[dict[str, Any], dict[str, str]], str]) -> Application:
    def pay(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        order = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        channel, collection, payment = _channel(), _collection(), f"TXN-{uuid.uuid4().hex}"
        collection.insert_one({"_id": payment, "status": "pending", **order})
        form = {
            "amount": int(order["amount"] * 100),
            "currency": "usd",
            "confirm": "true",
            "payment_method": "pm_card_visa",
            "payment_method_types[0]": "card",
        }
        done = {"status": "completed", "gateway_id": charge(form, _bearer | {"Idempotency-Key": payment})}
        collection.update_one({"_id": payment, "status": "pending"}, {"$set": done})
        event = json.dumps(
            {"event_id": f"evt_{payment}", "event_type": "payment.success", "transaction_id": payment}
        )
        persistent = pika.BasicProperties(delivery_mode=2, content_type="application/json")
        channel.basic_publish(_settings.rabbitmq_exchange, "payment.success", event, persistent)
        response = json.dumps({"status": "success", "transaction_id": payment}).encode()
        start_response(
            "200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(response)))]
        )
        return [response]

    return pay


app = _charging(_by_requests)
lean = _charging(_by_urllib3)
