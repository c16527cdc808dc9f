"""A real SMTP server for tests, which stores accepted mails and replies as scripted."""

from __future__ import annotations

import asyncio
import email
import email.policy
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port
from tests.support.wait import wait_for


class MailSink:
    """An SMTP server on a free port.

    Attributes:
        mails: accepted mails, parsed.
        replies: replies to the next DATA commands; then, mails are accepted again.
        seconds: delay between the end of a mail and its acceptance.
        in_hand: number of mails in this delay.
        on_mail: called during this delay.
    """

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.replies: list[str] = []
        self.seconds = 0.0
        self.in_hand = 0
        self.on_mail: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        with self._lock:
            if self.replies:
                return self.replies.pop(0)
            self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.in_hand += 1
        self.on_mail()
        await asyncio.sleep(self.seconds)
        self.in_hand -= 1
        return "250 2.0.0 accepted"

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings to send mails here."""
        return {"smtp_server": "127.0.0.1", "smtp_port": self._controller.port, "smtp_security": "none"}

    def recipients(self) -> list[str]:
        """Return the recipients of each mail."""
        return [str(mail["To"]) for mail in self.mails]

    def wait(self, count: int, timeout: float = 10) -> list[EmailMessage]:
        """Wait for `count` mails, and return them."""
        wait_for(lambda: len(self.mails) >= count, timeout, f"{len(self.mails)} of {count} mails arrived")
        return self.mails


@contextmanager
def running_mail_sink() -> Iterator[MailSink]:
    """A `MailSink` that listens until the end of the block."""
    sink = MailSink()
    sink._controller.start()
    try:
        yield sink
    finally:
        sink._controller.stop()
