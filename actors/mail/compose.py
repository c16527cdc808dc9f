"""A rendered mail as a MIME message, on Flask-Mail's `Message`."""

from __future__ import annotations

import hashlib
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from flask_mail import Message

from actors.mail.addresses import ascii_address
from actors.mail.render import Rendered
from actors.mail.text import one_line

#: No vacation notices, please: RFC 3834, and what Exchange has in its place.
_HEADERS = {"Auto-Submitted": "auto-generated", "X-Auto-Response-Suppress": "All"}

_LONGEST_SUBJECT = 200
_LONGEST_NAME = 100


class OutgoingMail(Message):
    """Flask-Mail's message, made by `compose` and written by the standard library.

    Flask-Mail 0.10 puts the alternatives into a multipart/mixed, lets line breaks of extra headers through,
    and asks for an application context. So only its fields are used, not its MIME.

    Attributes:
        envelope_from: where bounces go.
        envelope_to: the one recipient.
    """

    body: str
    html: str

    def __init__(
        self, rendered: Rendered, *, recipient: str, sender: Address, message_id: str, date: datetime
    ) -> None:
        super().__init__(
            subject=one_line(rendered.subject, _LONGEST_SUBJECT),
            recipients=[recipient],
            body=rendered.text,
            html=rendered.html,
            sender=str(sender),
            date=date.timestamp(),
        )
        self.msgId = message_id
        self.envelope_from = sender.addr_spec
        self.envelope_to = recipient
        self._from = sender
        self._sent_at = date

    def _message(self) -> EmailMessage:  # type: ignore[override]
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._from
        mail["To"] = _address(self.envelope_to)
        mail.set_raw("Subject", _encoded(self.subject))
        mail["Date"] = self._sent_at
        mail["Message-ID"] = self.msgId
        for name, value in _HEADERS.items():
            mail[name] = value
        # Plain text first: the last alternative is the preferred one (RFC 2046, 5.1.4). Quoted-printable
        # keeps lines short and passes servers without 8BITMIME.
        mail.set_content(self.body, cte="quoted-printable")
        mail.add_alternative(self.html, subtype="html", cte="quoted-printable")
        return mail


def compose(
    rendered: Rendered, *, recipient: str, sender: tuple[str, str], message_id: str, date: datetime
) -> OutgoingMail:
    """Make a mail ready to be sent: multipart/alternative, text then HTML.

    Args:
        rendered: its parts.
        recipient: one address.
        sender: name and address.
        message_id: with its angle brackets, as `message_id_for` makes it.
        date: aware.

    Raises:
        InvalidAddress: of the recipient or the sender.
    """
    name, address = sender
    return OutgoingMail(
        rendered,
        recipient=ascii_address(recipient),
        sender=_address(ascii_address(address), one_line(name, _LONGEST_NAME).replace("=?", "= ?")),
        message_id=message_id,
        date=date,
    )


def message_id_for(event_id: str, notification_type: str, from_email: str) -> str:
    """The Message-ID of one delivery: the same at every try and every replay, so that a double can be told.

    Args:
        event_id: of the event that asks for the mail.
        notification_type: the channel.
        from_email: the sender; RFC 5322, 3.6.4 wants an id on a domain of one's own.
    """
    domain = ascii_address(from_email).rpartition("@")[2]
    # Hashed: an event id may have any characters, and need not be told to the recipient.
    digest = hashlib.sha256(f"{notification_type}\0{event_id}".encode()).hexdigest()[:32]
    return f"<{digest}@{domain}>"


def _encoded(subject: str) -> str:
    """`subject` by RFC 2047.

    Not left to `EmailMessage`: it takes what looks like an encoded word in the data for one, so that
    `=?utf-8?q?=0D=0ABcc=3A_x?=` writes a header, and drops blanks between words that it folds (CPython 3.11).
    """
    charset = "us-ascii" if subject.isascii() and "=?" not in subject else "utf-8"
    return Header(subject, charset, header_name="Subject").encode()


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(name, local, domain)
