"""A real Postfix for tests: STARTTLS, AUTH, a strict HELO check, and greylisting. It forwards accepted mails
to a sink.
"""

from __future__ import annotations

import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.servers import Server, find_binary

USER, PASSWORD = "shop@mail.example.com", "correct horse battery staple"

_MAIN = """\
compatibility_level = 3.6
queue_directory = {base}/queue
data_directory = {base}/data
command_directory = /usr/sbin
daemon_directory = {daemons}
mail_owner = postfix
setgid_group = postdrop
maillog_file = {base}/mail.log
maillog_file_prefixes = {base}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.com
mydestination =
alias_maps =
alias_database =
disable_dns_lookups = yes
default_transport = smtp:[127.0.0.1]:{sink}
smtp_tls_security_level = none
smtpd_tls_cert_file = {pem}
smtpd_tls_key_file = {pem}
smtpd_tls_security_level = encrypt
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
cyrus_sasl_config_path = {base}/sasl
smtpd_helo_required = yes
smtpd_helo_restrictions = reject_non_fqdn_helo_hostname
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = check_policy_service inet:127.0.0.1:{policy}
"""


class Postfix(Server):
    """Postfix in the foreground, with its own queue, configuration, and users. Needs root.

    Args:
        directory: other users must be able to enter it, and all above it.
        pem: certificate and key for `localhost`.
        sink: port of the server that gets the mails.
        policy: port of a policy service (`greylisting`).
        settings: further lines of main.cf, which take precedence.
        services: further lines of master.cf.
    """

    def __init__(
        self, directory: Path, pem: Path, sink: int, policy: int, settings: str = "", services: str = ""
    ) -> None:
        super().__init__(directory)
        self._pem, self._sink, self._policy = pem, sink, policy
        self._settings, self._services = settings, services

    @staticmethod
    def lacks() -> str | None:
        """Return why it can't run here; None if it can."""
        if not (find_binary("postfix") and find_binary("saslpasswd2")):
            return "Postfix: not installed (apt-get install postfix sasl2-bin libsasl2-modules)"
        return None if os.geteuid() == 0 else "Postfix: starts as root only"

    def command(self) -> Sequence[str]:
        return [str(find_binary("postfix")), "-c", str(self.directory), "start-fg"]

    def start(self) -> None:
        base = self.directory
        for name in ("queue", "data", "sasl"):
            (base / name).mkdir(parents=True, exist_ok=True)
        shutil.chown(base / "data", "postfix")
        pem = base / "server.pem"
        pem.write_bytes(self._pem.read_bytes())
        daemons = next(
            path for path in ("/usr/lib/postfix/sbin", "/usr/libexec/postfix") if Path(path).is_dir()
        )
        values = {"base": base, "daemons": daemons, "pem": pem, "sink": self._sink, "policy": self._policy}
        (base / "main.cf").write_text(_MAIN.format(**values) + self._settings)
        services = Path("/usr/share/postfix/master.cf.dist")
        lines = (services if services.exists() else Path("/etc/postfix/master.cf")).read_text().splitlines()
        (base / "master.cf").write_text("\n".join(map(self._service, lines)) + "\n" + self._services)
        self._make_user()
        super().start()

    def stop(self, grace: float = 60) -> int:
        # SIGTERM stops the script that waits for Postfix, but not Postfix.
        subprocess.run(
            [str(find_binary("postfix")), "-c", str(self.directory), "stop"],
            check=False,
            capture_output=True,
            timeout=30,
        )
        return super().stop(grace)

    def _service(self, line: str) -> str:
        """Return a line of master.cf, on our port and without a chroot."""
        fields = line.split()
        if len(fields) < 8 or line.startswith(("#", " ")):
            return line
        if fields[:2] == ["smtp", "inet"]:
            fields[0] = f"127.0.0.1:{self.port}"
        fields[4] = "n"
        return " ".join(fields)

    def _make_user(self) -> None:
        sasl = self.directory / "sasl"
        users = sasl / "users.db"
        (sasl / "smtpd.conf").write_text(
            "pwcheck_method: auxprop\n"
            "auxprop_plugin: sasldb\n"
            f"sasldb_path: {users}\n"
            "mech_list: PLAIN LOGIN CRAM-MD5\n"
        )
        name, _, realm = USER.partition("@")
        command = [str(find_binary("saslpasswd2")), "-p", "-c", "-f", str(users), "-u", realm, name]
        subprocess.run(command, input=PASSWORD, text=True, check=True, capture_output=True)
        users.chmod(0o644)


@contextmanager
def greylisting() -> Iterator[int]:
    """Run a policy service that defers the first attempt for each recipient.

    https://www.postfix.org/SMTPD_POLICY_README.html

    Yields:
        Its port.
    """
    seen: set[str] = set()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            recipient = ""
            for line in self.rfile:
                name, _, value = line.decode().strip().partition("=")
                recipient = value if name == "recipient" else recipient
                if not name:
                    action = "dunno" if recipient in seen else "defer greylisted"
                    seen.add(recipient)
                    self.wfile.write(f"action={action}\n\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()
