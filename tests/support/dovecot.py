"""A real Dovecot for tests: IMAP over TLS for one user, and LMTP for delivery by a mail server."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imapclient import IMAPClient

from tests.support.ports import free_port
from tests.support.servers import Server, find_binary

USER, PASSWORD = "tickets@movieapp.example.com", "correct/horse@battery"

_CONFIG = """\
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = required
ssl_cert = <{pem}
ssl_key = <{pem}
mail_location = maildir:{base}/mail/%u
mail_uid = mail
mail_gid = mail
first_valid_uid = 1
first_valid_gid = 1
imap_capability = {capability}
namespace inbox {{
  inbox = yes
  prefix = {prefix}
  separator = .
}}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {base}/users
}}
userdb {{
  driver = static
  args = home={base}/mail/%u allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    address = 127.0.0.1
    port = {port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service anvil {{
  chroot =
}}
service imap-login {{
  chroot =
}}
"""


class Dovecot(Server):
    """Dovecot in the foreground. Needs root.

    Args:
        directory: other users must be able to enter it, and all its parents.
        pem: certificate and key for `localhost`.
        capability: the capabilities that the server offers; "" for all.
        prefix: of its folders, such as `INBOX.`.
    """

    def __init__(self, directory: Path, pem: Path, capability: str = "", prefix: str = "") -> None:
        super().__init__(directory)
        self._pem, self._capability, self._prefix = pem, capability, prefix
        self.lmtp_port = free_port()

    @staticmethod
    def lacks() -> str | None:
        """Return why it can't run here; None if it can."""
        if not (find_binary("dovecot") and Path("/usr/lib/dovecot/lmtp").exists()):
            return "Dovecot: not installed (apt-get install dovecot-imapd dovecot-lmtpd)"
        return None if os.geteuid() == 0 else "Dovecot: starts as root only"

    @property
    def url(self) -> str:
        """The value of BOUNCE_MAILBOX_URL."""
        return f"imaps://tickets%40movieapp.example.com:correct%2Fhorse%40battery@localhost:{self.port}/INBOX"

    def command(self) -> Sequence[str]:
        return [str(find_binary("dovecot")), "-F", "-c", str(self.directory / "dovecot.conf")]

    def start(self) -> None:
        base = self.directory
        for name in ("run", "state", "mail"):
            (base / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(base / "mail", "mail", "mail")
        pem = base / "server.pem"
        pem.write_bytes(self._pem.read_bytes())
        (base / "users").write_text(f"{USER}:{PASSWORD}\n")
        values = {"base": base, "pem": pem, "port": self.port, "lmtp": self.lmtp_port}
        values |= {"capability": self._capability, "prefix": self._prefix}
        (base / "dovecot.conf").write_text(_CONFIG.format(**values))
        super().start()

    def stop(self, grace: float = 60) -> int:
        config = str(self.directory / "dovecot.conf")
        subprocess.run(
            [str(find_binary("doveadm")), "-c", config, "stop"], check=False, capture_output=True, timeout=30
        )
        return super().stop(grace)

    @contextmanager
    def client(self) -> Iterator[IMAPClient]:
        """Return the user's mailbox."""
        context = ssl.create_default_context(cafile=str(self._pem))
        with IMAPClient("localhost", self.port, ssl_context=context, timeout=20) as client:
            client.login(USER, PASSWORD)
            yield client

    def append(self, *messages: bytes) -> None:
        """Put messages into the inbox."""
        with self.client() as client:
            for message in messages:
                client.append("INBOX", message)

    def folder(self, name: str) -> list[bytes]:
        """Return the messages of a folder that are not marked as deleted; none if it does not exist."""
        with self.client() as client:
            if not client.folder_exists(name):
                return []
            client.select_folder(name, readonly=True)
            found = (
                client.fetch(client.search(["UNDELETED"]) or [0], ["BODY.PEEK[]"]) if client.search() else {}
            )
            return [found[uid][b"BODY[]"] for uid in sorted(found)]
