"""API keys and their scopes, HTTPS in production, and the commands that create keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from app import create_app
from app.keys.scopes import SCOPES
from app.keys.store import create_key, revoke_key
from app.models import ApiKey
from tests.support.commands import MOVIEAPP, environment, movieapp

if TYPE_CHECKING:
    from flask.testing import FlaskClient

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator

PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 50, "payment_method": "credit_card"}


@pytest.fixture
def make_client(redis_settings: Settings, stripe_simulator: StripeSimulator) -> Iterator[Any]:
    apps = []

    def make(**changes: Any) -> FlaskClient:
        app = create_app(redis_settings.model_copy(update=stripe_simulator.settings | changes))
        apps.append(app)
        return app.test_client()

    yield make
    for app in apps:
        app.extensions["movieapp"].relay.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_a_key_grants_only_its_scopes(make_client: Any) -> None:
    client = make_client(auth_required=True)
    _, payer = create_key("payer", ["payments:write"])
    _, reader = create_key("reader", ["payments:read"])
    paid = client.post("/payment/process", json=PAYMENT, headers=bearer(payer))
    assert paid.status_code == 200
    url = f"/payment/status/{paid.json['transaction_id']}"
    assert client.get(url, headers=bearer(reader)).status_code == 200
    for response in (
        client.get(url, headers=bearer(payer)),
        client.get("/payment/booking/BOOK-1", headers=bearer(payer)),
        client.post("/payment/process", json=PAYMENT, headers=bearer(reader)),
        client.post("/payment/refund", json={}, headers=bearer(payer)),
    ):
        assert (response.status_code, response.json["error"]["code"]) == (403, "FORBIDDEN")


def test_requests_without_a_valid_key_are_refused_without_details(make_client: Any) -> None:
    client = make_client(auth_required=True)
    _, token = create_key("payer", SCOPES)
    tampered = token[:-1] + ("A" if token[-1] != "A" else "B")
    for headers in (
        {},
        bearer("x"),
        bearer(tampered),
        bearer(f"mk_{'0' * 32}_{'A' * 43}"),
        {"Authorization": "Basic eDp5"},
    ):
        response = client.post("/payment/process", json={}, headers=headers)
        assert (response.status_code, response.json["error"]["code"]) == (401, "UNAUTHORIZED")
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert client.get("/payment/status/TXN-none").status_code == 401
    for path in ("/health", "/payment/methods", "/docs", "/docs/openapi.json"):
        assert client.get(path).status_code == 200


def test_an_invalid_key_is_refused_even_if_no_key_is_required(make_client: Any) -> None:
    client = make_client(auth_required=False)
    assert client.get("/payment/booking/BOOK-1").status_code == 200
    assert client.get("/payment/booking/BOOK-1", headers=bearer("wrong")).status_code == 401


def test_a_revoked_key_is_refused_within_half_a_minute(
    make_client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_client(auth_required=True)
    key, token = create_key("payer", ["payments:read"])
    assert client.get("/payment/booking/B", headers=bearer(token)).status_code == 200
    assert revoke_key(key.id)
    assert not revoke_key(key.id)
    later = time.monotonic() + 31
    monkeypatch.setattr("app.keys.keyring.time.monotonic", lambda: later)
    assert client.get("/payment/booking/B", headers=bearer(token)).status_code == 401


def test_only_a_hash_of_the_token_is_stored(make_client: Any) -> None:
    make_client()
    key, token = create_key("payer", ["payments:read"])
    assert token not in repr(ApiKey.objects.get(id=key.id).to_mongo())


def test_idempotency_keys_are_scoped_to_the_caller(make_client: Any) -> None:
    client = make_client(auth_required=True)
    headers = {"Idempotency-Key": "same"}
    responses = []
    for number in range(2):
        _, token = create_key(f"caller {number}", ["payments:write"])
        body = PAYMENT | {"booking_id": f"BOOK-{number}"}
        responses.append(client.post("/payment/process", json=body, headers=headers | bearer(token)))
    assert [response.status_code for response in responses] == [200, 200]


def test_production_requires_https_and_sends_hsts(make_client: Any) -> None:
    client = make_client(
        app_env="production",
        trusted_proxies=1,
        metrics_bind="127.0.0.1:9464",
        dashboard_secret_key=SecretStr("x" * 32),
    )
    plain = client.get("/payment/methods")
    assert (plain.status_code, plain.json["error"]["message"]) == (
        403,
        "Plain HTTP is not accepted. Use HTTPS.",
    )
    assert client.get("/health").status_code == 200
    assert client.get("/metrics").status_code == 404, "only their own listener has them"
    own = client.get("/metrics", base_url="http://127.0.0.1:9464")
    assert own.status_code == 200, "Prometheus comes without TLS"
    secure = client.get(
        "/payment/methods", headers={"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.1"}
    )
    assert secure.status_code == 200
    assert secure.headers["Strict-Transport-Security"].startswith("max-age=")
    assert secure.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "peer", "headers", "code"),
    [
        ("/dashboard", "127.0.0.1", {}, 302),
        ("/dashboard", "::1", {}, 302),
        ("/dashboard", "10.1.2.3", {}, 403),
        ("/dashboard", "127.0.0.1", {"X-Forwarded-For": "127.0.0.1"}, 403),
        ("/payment/methods", "127.0.0.1", {}, 403),
    ],
)
def test_in_production_only_an_operators_tunnel_reaches_the_dashboard_without_tls(
    make_client: Any, path: str, peer: str, headers: dict[str, str], code: int
) -> None:
    client = make_client(
        app_env="production",
        auth_required=True,
        trusted_proxies=1,
        metrics_bind="127.0.0.1:9464",
        dashboard_secret_key=SecretStr("x" * 32),
    )
    environ = {"REMOTE_ADDR": peer}
    assert client.get(path, headers=headers, environ_overrides=environ).status_code == code


def test_without_a_proxy_forwarded_headers_are_ignored(make_client: Any) -> None:
    client = make_client(ratelimit_enabled=True, ratelimit_payments="1 per minute")
    codes = [
        client.post("/payment/process", json={}, headers={"X-Forwarded-For": f"192.0.2.{n}"}).status_code
        for n in range(2)
    ]
    assert codes == [422, 429]


@pytest.mark.parametrize("proxies", [0, 1])
def test_the_host_header_is_not_used_in_return_urls(
    make_client: Any, stripe_simulator: StripeSimulator, proxies: int
) -> None:
    client = make_client(trusted_proxies=proxies, public_url="https://payments.example.com/api")
    forged = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    opened = client.post("/payment/process", json=PAYMENT | {"payment_method": "paypal"}, headers=forged)
    assert opened.status_code == 202, opened.text
    intent = stripe_simulator.intent(opened.json["transaction_id"])
    back = intent["next_action"]["redirect_to_url"]["return_url"]
    assert back.startswith("https://payments.example.com/api/payment/")


def test_openapi_says_where_a_key_is_needed(make_client: Any) -> None:
    document = make_client().get("/docs/openapi.json").json
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"
    secured = {
        path
        for path, item in document["paths"].items()
        if any("security" in item.get(method, {}) for method in ("get", "post"))
    }
    assert secured == {
        "/notification/bounces",
        "/payment/process",
        "/payment/refund",
        "/payment/cancel",
        "/payment/status/{transaction_id}",
        "/payment/booking/{booking_id}",
    }
    required = make_client(auth_required=True).get("/docs/openapi.json").json
    for path in secured:
        method = "get" if "get" in document["paths"][path] else "post"
        optional, needed = document["paths"][path][method], required["paths"][path][method]
        assert (optional["security"], needed["security"]) == ([{}, {"apiKey": []}], [{"apiKey": []}])


def test_the_commands_create_list_and_revoke_keys(redis_settings: Settings) -> None:
    created = movieapp(redis_settings, "keys", "create", "shop", "--scope", "payments:write", "--json")
    assert created.returncode == 0, created.stderr
    key = json.loads(created.stdout)
    assert key["token"].startswith("mk_")
    (listed,) = json.loads(movieapp(redis_settings, "keys", "list", "--json").stdout)
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (key["id"], "shop", None)
    assert key["token"] not in movieapp(redis_settings, "keys", "list").stdout
    assert movieapp(redis_settings, "keys", "revoke", key["id"]).returncode == 0
    again = movieapp(redis_settings, "keys", "revoke", key["id"])
    assert (again.returncode, again.stderr) == (1, f"Error: No valid key has the id {key['id']}.\n")
    assert movieapp(redis_settings, "keys", "create", "shop").returncode == 2


def test_a_closed_output_pipe_is_not_a_failure(redis_settings: Settings) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*MOVIEAPP, "templates", "list"],
        env=environment(redis_settings),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_command_without_mongodb_fails_in_one_line(redis_settings: Settings) -> None:
    unavailable = redis_settings.model_copy(
        update={"mongodb_uri": "mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=200"}
    )
    done = movieapp(unavailable, "keys", "list")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)


def test_production_does_not_start_without_an_active_key(redis_settings: Settings) -> None:
    environment = {
        **os.environ,
        "MONGODB_URI": redis_settings.mongodb_uri,
        "APP_ENV": "production",
        "PAYMENT_GATEWAY_API_KEY": "sk_live_x",
        "STRIPE_WEBHOOK_SECRET": "whsec_x",
        "TRUSTED_PROXIES": "1",
        "PUBLIC_URL": "https://payments.example.com",
        "DASHBOARD_SECRET_KEY": "x" * 32,
        "RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:1/%2F",
    }
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "serve"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (
        1,
        "Error: No valid API key exists. Create one with `movieapp keys create`.\n",
    )
