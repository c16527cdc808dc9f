"""A similar service as it is often written today: FastAPI, Motor, and aio-pika, without the guarantees.

It validates with pydantic, writes, charges, writes, and publishes. It has no idempotency keys, no claims on
bookings, no outbox, no limits, and no recovery. `app` charges with Stripe's SDK, which uses httpx; `tuned`
uses aiohttp instead.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import aio_pika
import aiohttp
import stripe
from fastapi import FastAPI
from motor.motor_asyncio import AsyncIOMotorClient
from pydantic import BaseModel, Field

from app.settings import load_settings

#: Amount in cents and idempotency key → the PaymentIntent's id.
Charge = Callable[[int, str], Awaitable[str]]

_settings = load_settings()
_key = _settings.payment_gateway_api_key.get_secret_value()
_parts: dict[str, Any] = {}


class Order(BaseModel):
    """The request body of a payment."""

    user_id: str = Field(max_length=64)
    booking_id: str = Field(max_length=64)
    amount: float = Field(gt=0)
    payment_method: str
    user_email: str = Field(max_length=254)


@asynccontextmanager
async def _sdk() -> AsyncIterator[Charge]:
    client = stripe.StripeClient(
        _key,
        base_addresses={"api": _settings.payment_gateway_url},
        http_client=stripe.HTTPXClient(timeout=10),
    )

    async def charge(amount: int, key: str) -> str:
        intent = await client.v1.payment_intents.create_async(
            {
                "amount": amount,
                "currency": "usd",
                "confirm": True,
                "payment_method": "pm_card_visa",
                "payment_method_types": ["card"],
            },
            {"idempotency_key": key},
        )
        return str(intent.id)

    yield charge


@asynccontextmanager
async def _by_hand() -> AsyncIterator[Charge]:
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(10)
    async with aiohttp.ClientSession(
        _settings.payment_gateway_url,
        headers={"Authorization": f"Bearer {_key}"},
        timeout=timeout,
        connector=connector,
    ) as session:

        async def charge(amount: int, key: str) -> str:
            form = {
                "amount": amount,
                "currency": "usd",
                "confirm": "true",
                "payment_method": "pm_card_visa",
                "payment_method_types[0]": "card",
            }
            async with session.post(
                "/v1/payment_intents", data=form, headers={"Idempotency-Key": key}
            ) as response:
                response.raise_for_status()
                return str((await response.json())["id"])

        yield charge


async def process(order: Order) -> dict[str, str]:
    """Take a payment."""
    payment = f"TXN-{uuid.uuid4().hex}"
    await _parts["payments"].insert_one({"_id": payment, "status": "pending", **order.model_dump()})
    gateway_id = await _parts["charge"](int(order.amount * 100), payment)
    done = {"status": "completed", "gateway_id": gateway_id}
    await _parts["payments"].update_one({"_id": payment}, {"$set": done})
    event = {"event_id": f"evt_{payment}", "event_type": "payment.success", "transaction_id": payment}
    message = aio_pika.Message(
        json.dumps(event).encode(),
        delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        content_type="application/json",
    )
    await _parts["exchange"].publish(message, "payment.success", mandatory=False)
    return {"status": "success", "transaction_id": payment}


def _service(gateway: Callable[[], AbstractAsyncContextManager[Charge]]) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        client: Any = AsyncIOMotorClient(_settings.mongodb_uri, w="majority")
        _parts["payments"] = client.get_default_database()["rival"]
        async with await aio_pika.connect_robust(_settings.rabbitmq_url) as connection, gateway() as charge:
            channel = await connection.channel(publisher_confirms=True)
            _parts["exchange"] = await channel.declare_exchange(
                _settings.rabbitmq_exchange, aio_pika.ExchangeType.TOPIC, durable=True
            )
            _parts["charge"] = charge
            yield

    service = FastAPI(lifespan=lifespan)
    service.post("/payment/process")(process)
    return service


app = _service(_sdk)
tuned = _service(_by_hand)
