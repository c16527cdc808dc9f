"""`movieapp check` logs in to the bounce mailbox, changes nothing there, and shows no password."""

from __future__ import annotations

import socketserver
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from pydantic import SecretStr

from app.bounces.mailbox import PROCESSED, UNMATCHED, poll
from app.operations.health import Finding, run_probe
from app.settings import Settings
from cli.checks import CHECKS
from tests.integration.bounces.conftest import reading
from tests.integration.bounces.test_mailbox import PERSON, Free, never
from tests.support.commands import movieapp
from tests.support.dovecot import Dovecot
from tests.support.ports import free_port

NAME = "bounce mailbox"


def look(settings: Settings) -> list[Finding]:
    return run_probe(NAME, CHECKS[NAME], settings)


@pytest.fixture
def mailbox_settings(stored_settings: Settings, dovecot: Dovecot, localhost_pem: Path) -> Settings:
    return reading(stored_settings, dovecot, localhost_pem)


def test_check_has_no_row_without_a_mailbox(settings: Settings) -> None:
    assert look(settings) == []


def test_missing_folders_are_a_warning_until_a_worker_has_polled(
    mailbox_settings: Settings, dovecot: Dovecot
) -> None:
    dovecot.append(PERSON)
    [before] = look(mailbox_settings)
    assert (before.level, before.what) == ("warning", f"no folder {PROCESSED} or {UNMATCHED}")
    with dovecot.client() as client:
        assert not client.folder_exists(PROCESSED)
        client.select_folder("INBOX", readonly=True)
        assert client.search(["UNSEEN"]) == [1]
    poll(mailbox_settings, Free(), never)
    [after] = look(mailbox_settings)
    assert (after.level, after.what) == ("ok", "login works, 0 messages wait in INBOX")


def test_command_shows_the_row(mailbox_settings: Settings) -> None:
    shown = movieapp(mailbox_settings, "check").stdout
    assert f"{NAME}\twarning\tno folder {PROCESSED}" in shown
    assert "horse" not in shown


@pytest.mark.parametrize(
    ("change", "what", "advice"),
    [
        (("battery", "staple"), "refuses the login: ", "app password"),
        (("/INBOX", "/Returned"), "folder Returned: select failed", "folder that receives bounces"),
    ],
)
def test_errors_of_the_mailbox_server_name_the_fix(
    mailbox_settings: Settings, change: tuple[str, str], what: str, advice: str
) -> None:
    url = mailbox_settings.bounce_mailbox_url.get_secret_value().replace(*change)
    check_bad(mailbox_settings.model_copy(update={"bounce_mailbox_url": SecretStr(url)}), what, advice)


def test_untrusted_certificate_names_its_fix(mailbox_settings: Settings) -> None:
    untrusting = mailbox_settings.model_copy(update={"bounce_mailbox_ca_file": None})
    check_bad(untrusting, "the certificate is not trusted (", "BOUNCE_MAILBOX_CA_FILE")


def test_unavailable_server_names_host_and_port(settings: Settings) -> None:
    port = free_port()
    url = SecretStr(f"imaps://tickets:horse%40battery@localhost:{port}")
    check_bad(
        settings.model_copy(update={"bounce_mailbox_url": url}),
        f"localhost:{port}: Connection refused",
        "host and port",
    )


class Repeating(socketserver.StreamRequestHandler):
    """An IMAP server that repeats the refused login."""

    def handle(self) -> None:
        self.wfile.write(b"* OK [CAPABILITY IMAP4rev1] ready\r\n")
        for line in self.rfile:
            tag, command = line.split(maxsplit=2)[:2]
            if command.upper() == b"CAPABILITY":
                self.wfile.write(b"* CAPABILITY IMAP4rev1\r\n" + tag + b" OK done\r\n")
            else:
                self.wfile.write(tag + b" BAD unknown command: " + line)


@pytest.fixture
def repeating_port(localhost_pem: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(localhost_pem)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Repeating) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("password", ["horse@battery", 'ho"rse\\battery'])
def test_password_that_the_server_repeats_is_not_shown(
    settings: Settings, localhost_pem: Path, repeating_port: int, password: str
) -> None:
    url = SecretStr(f"imaps://tickets:{quote(password, safe='')}@localhost:{repeating_port}")
    changes = {"bounce_mailbox_url": url, "bounce_mailbox_ca_file": localhost_pem}
    [found] = look(settings.model_copy(update=changes))
    assert found.what.endswith("refuses the login: a reply that contains the password")


def check_bad(settings: Settings, what: str, advice: str) -> None:
    [found] = look(settings)
    assert found.level == "bad"
    assert what in found.what
    assert advice in found.advice
    assert "\n" not in found.what
    assert "horse" not in found.what
