"""A fake Twilio: a real HTTP server on loopback that responds, refuses, hangs, and disconnects on demand."""

from __future__ import annotations

import json
import ssl
import threading
import uuid
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from pydantic import SecretStr
from twilio.request_validator import RequestValidator

if TYPE_CHECKING:
    from flask.testing import FlaskClient
    from werkzeug.test import TestResponse

ACCOUNT, TOKEN, SENDER = "AC0123456789abcdef0123456789abcdef", "secret-of-the-account", "+14155550100"


@dataclass(frozen=True)
class TwilioResponse:
    """A response of Twilio: the HTTP status, and Twilio's code and message unless it is 201."""

    status: int = 201
    code: int = 0
    words: str = ""


INVALID = TwilioResponse(400, 21211, "Invalid 'To' Phone Number: +1415555XXXX")
NOT_MOBILE = TwilioResponse(400, 21614, "'To' number is not a valid mobile number")
UNSUBSCRIBED = TwilioResponse(400, 21610, "Attempt to send to unsubscribed recipient")
TOO_MANY = TwilioResponse(429, 20429, "Too Many Requests")
BROKEN = TwilioResponse(500, 20500, "Internal Server Error")
REFUSED_LOGIN = TwilioResponse(401, 20003, "Authenticate")

#: Instead of a valid response: none, a closed connection, or invalid JSON. The SMS was accepted each time.
HANG, CUT, GIBBERISH = "hang", "cut", "gibberish"


class FakeTwilio:
    """Accepts SMS from one account.

    Attributes:
        script: the next responses; then, each SMS is accepted.
        requests: number of received requests.
        connections: number of connections.
        texts: accepted SMS, as {"To", "From", "Body"}.
    """

    def __init__(self) -> None:
        self.script: list[TwilioResponse | str] = []
        self.requests = 0
        self.connections = 0
        self.texts: list[dict[str, str]] = []
        self.over = threading.Event()
        self.server = _Server(self)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings to send SMS here."""
        return {
            "sms_provider": "twilio",
            "twilio_account_sid": ACCOUNT,
            "twilio_auth_token": SecretStr(TOKEN),
            "twilio_from_number": SENDER,
            "twilio_api_base": f"http://127.0.0.1:{self.server.server_port}",
        }

    def secure(self, certificate: Path, key: Path) -> None:
        """Switch to HTTPS."""
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)


class _Server(ThreadingHTTPServer):
    def __init__(self, twilio: FakeTwilio) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.twilio = twilio

    def get_request(self) -> Any:
        self.twilio.connections += 1
        return super().get_request()


class _Connection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    server: _Server

    def do_POST(self) -> None:
        twilio = self.server.twilio
        text = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        twilio.requests += 1
        login = b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()
        if self.headers["Authorization"] != f"Basic {login}":
            return self._say(REFUSED_LOGIN)
        if self.path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
            return self._say(TwilioResponse(404, 20404, f"The requested resource {self.path} was not found"))
        response = twilio.script.pop(0) if twilio.script else TwilioResponse()
        if isinstance(response, TwilioResponse) and response.status != 201:
            return self._say(response)
        twilio.texts.append(text)
        if response == HANG:
            twilio.over.wait()
        if response in (HANG, CUT):
            self.close_connection = True
            return None
        if response == GIBBERISH:
            return self._send(201, "<html>")
        return self._send(201, json.dumps({"sid": f"SM{uuid.uuid4().hex}", "status": "queued"}))

    def _say(self, response: TwilioResponse) -> None:
        body = {"status": response.status, "code": response.code, "message": response.words}
        self._send(response.status, json.dumps(body))

    def _send(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        """Server whose records tests read."""


def post_signed(
    client: FlaskClient, public_url: str, address: str, token: str = TOKEN, **fields: str
) -> TestResponse:
    """Call an application as Twilio does: a form, signed for `public_url` and the path."""
    signature = RequestValidator(token).compute_signature(f"{public_url}{address}", fields)
    return client.post(address, data=fields, headers={"X-Twilio-Signature": signature})


@contextmanager
def running_twilio() -> Iterator[FakeTwilio]:
    """A `FakeTwilio` that listens until the end of the block."""
    twilio = FakeTwilio()
    thread = threading.Thread(target=twilio.server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield twilio
    finally:
        twilio.over.set()
        twilio.server.shutdown()
        thread.join()
        twilio.server.server_close()
