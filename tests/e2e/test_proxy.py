"""deploy/nginx in front of the API: what it forwards, blocks, and logs, and which addresses it trusts."""

from __future__ import annotations

import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests

from app import models
from tests.support.cards import CARD
from tests.support.compose import ROOT
from tests.support.ports import free_port, listens
from tests.support.processes import Process
from tests.support.servers import ApiServer, find_binary
from tests.support.typical import typical_seconds
from tests.support.wait import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from app.settings import Settings
    from tests.support.stripe import StripeSimulator


#: Path → the part of the path that the proxy logs.
ROUTES = {
    f"/payment/status/{CARD}": "/payment/status",
    f"/payment/booking/{CARD}?card={CARD}": "/payment/booking",
    f"/payment/{CARD}": "/payment",
    f"/payment/status{CARD}": "/payment",
    "/notification/sms/status": "/notification/sms",
    "/health/ready": "/health/ready",
    f"/docs/{CARD}.css": "/docs",
    f"/dashboard/payments/{CARD}": "/dashboard/payments",
    f"/{CARD}": "other",
    f"/payments/{CARD}": "other",
}
PAYMENT = {"user_id": "user_1", "booking_id": "BOOK-1", "amount": 9, "payment_method": "credit_card"}


class Proxy:
    """nginx with the configuration of docker-compose.yml, adapted to this machine.

    Args:
        directory: for its files.
        api: the port of the API.
    """

    def __init__(self, binary: str, directory: Path, api: int) -> None:
        self.public, self.private = free_port(), free_port()
        self._binary = binary
        self._directory = directory
        self.access_log, self.error_log = directory / "access.log", directory / "error.log"
        self.certificate = directory / "tls.crt"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
        command += ["-keyout", str(directory / "tls.key"), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)
        here = {
            "payment-service:8003": f"127.0.0.1:{api}",
            "listen 8443": f"listen 127.0.0.1:{self.public}",
            "listen 8444": f"listen 127.0.0.1:{self.private}",
            "/run/tls": str(directory),
            "/tmp": str(directory),  # noqa: S108 - the container's
            "/dev/stderr": str(self.error_log),
            "/dev/stdout": str(self.access_log),
        }
        places = re.compile("|".join(map(re.escape, here)))
        text = (ROOT / "deploy/nginx/nginx.conf").read_text()
        assert set(places.findall(text)) == set(here)
        text = places.sub(lambda place: here[place[0]], text)
        self.configuration = directory / "nginx.conf"
        self.configuration.write_text(text)

    def start(self) -> Process:
        command = [self._binary, "-c", str(self.configuration), "-g", "daemon off;"]
        return Process(command, self._directory / "output.log")

    def get(self, path: str, *, private: bool = False, claimed: str | None = None) -> requests.Response:
        """Send a path unchanged, with a forged forwarded address."""
        url = f"https://127.0.0.1:{self.private if private else self.public}"
        headers = {"X-Forwarded-For": claimed} if claimed else {}
        prepared = requests.Request("GET", url, headers=headers).prepare()
        prepared.url = url + path
        with requests.Session() as session:
            return session.send(prepared, verify=str(self.certificate), timeout=20)


@pytest.fixture
def proxy(
    redis_settings: Settings,
    stripe_simulator: StripeSimulator,
    tmp_path: Path,
    lacking: Callable[[str], NoReturn],
) -> Iterator[Proxy]:
    binary = find_binary("nginx")
    if binary is None:
        lacking("nginx: not installed (apt-get install nginx)")
    assert binary
    changes = {"trusted_proxies": 1, "ratelimit_enabled": True, "ratelimit_reads": "5 per minute"}
    settings = redis_settings.model_copy(update=stripe_simulator.settings | changes)
    models.connect(settings)
    api = ApiServer(tmp_path / "api", settings)
    api.start()
    wait_for(lambda: requests.get(f"{api.url}/health", timeout=60).ok, 60, "its worker does not start")
    proxy = Proxy(binary, tmp_path, api.port)
    with proxy.start() as process:
        process.wait_until(lambda: listens(proxy.public))
        yield proxy
    api.stop()


def test_the_proxy_exposes_only_the_api(proxy: Proxy) -> None:
    assert proxy.get("/health").json()["status"] == "healthy"
    assert proxy.get("/payment/methods").headers["Strict-Transport-Security"], "the API knows of the TLS"
    paid = requests.post(
        f"https://127.0.0.1:{proxy.public}/payment/process",
        json=PAYMENT,
        verify=str(proxy.certificate),
        timeout=20,
    )
    assert (paid.status_code, paid.json()["status"]) == (200, "success")
    for path, status in {
        "/dashboard": 403,
        "/dashboard/payments": 403,
        "//dashboard/payments": 403,
        "/x/../dashboard": 403,
        "/%64ashboard": 403,
        "/metrics": 404,
    }.items():
        assert proxy.get(path).status_code == status, path
    assert proxy.get("/dashboard/payments", private=True).status_code == 200
    assert proxy.get("/payment/methods", private=True).status_code == 404


def test_a_forged_forwarded_address_is_ignored(proxy: Proxy) -> None:
    claimed = [f"192.0.2.{number}" for number in range(6)]
    responses = [proxy.get("/payment/methods", claimed=address) for address in claimed]
    assert [response.status_code for response in responses] == [200] * 5 + [429]


def test_the_proxy_refuses_a_body_that_is_too_large(proxy: Proxy) -> None:
    response = requests.post(
        f"https://127.0.0.1:{proxy.public}/payment/process",
        data=b"x" * 65_537,
        verify=str(proxy.certificate),
        timeout=20,
    )
    assert response.status_code == 413


def test_no_log_of_the_proxy_contains_a_card_number_of_a_path(proxy: Proxy) -> None:
    for path in ROUTES:
        proxy.get(path)
    refused = requests.post(
        f"https://127.0.0.1:{proxy.public}/payment/booking/{CARD}",
        data=b"x" * 65_537,  # nginx logs an error, which quotes the request line
        verify=str(proxy.certificate),
        timeout=20,
    )
    assert refused.status_code == 413

    def logged() -> list[str]:
        return [line.split()[3] for line in proxy.access_log.read_text().splitlines()]

    wait_for(lambda: len(logged()) > len(ROUTES), 10, "requests are missing in the access log")
    assert logged() == [*ROUTES.values(), "/payment/booking"]
    assert CARD not in proxy.access_log.read_text() + proxy.error_log.read_text()


def test_slow_uploads_do_not_occupy_the_api(proxy: Proxy) -> None:
    context = ssl.create_default_context(cafile=str(proxy.certificate))
    with ExitStack() as opened:
        for _ in range(90):  # the limit is 100 for an address
            plain = socket.create_connection(("127.0.0.1", proxy.public), timeout=20)
            client = opened.enter_context(closing(context.wrap_socket(plain, server_hostname="localhost")))
            client.sendall(b"POST /payment/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n{")
        assert typical_seconds(lambda: proxy.get("/health")) < 1
