"""A rendered mail as a MIME message, on Flask-Mail's `Message`."""

from __future__ import annotations

import hashlib
from base64 import encodebytes
from binascii import b2a_qp
from datetime import datetime
from email.header import Header
from email.headerregistry import Address
from email.message import EmailMessage
from email.message import Message as Part
from email.policy import SMTP, Compat32
from email.utils import format_datetime

from flask_mail import Message

from actors.channels.email.addresses import ascii_address
from actors.channels.email.invitation import Invitation
from actors.channels.email.render import Rendered
from actors.channels.email.text import one_line

#: No vacation notices, please: RFC 3834, and what Exchange has in its place.
_HEADERS = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "All",
    "MIME-Version": "1.0",
}


class _AsTheyAre(Compat32):
    """For parts: their headers are all ours, short and plain, and need no looking at."""

    def fold_binary(self, name: str, value: str) -> bytes:
        return f"{name}: {value}\r\n".encode("ascii")


_WIRE = _AsTheyAre(linesep="\r\n")

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
        self._rendered = rendered

    def as_bytes(self) -> bytes:
        """The message as it goes over the wire.

        Head and body are written apart: with the head's policy, which checks what is put into a header, the
        generator would parse the headers of every part anew, several times each.
        """
        return self._head().as_bytes().rstrip(b"\r\n") + b"\r\n" + self._parts().as_bytes(policy=_WIRE)

    def _head(self) -> EmailMessage:
        """What is put in raw is ours and plain ASCII: parsing it anew would take longer than all the rest."""
        mail = EmailMessage(policy=SMTP)
        mail["From"] = self._from
        mail["To"] = _address(self.envelope_to)
        mail.set_raw("Subject", _encoded(self.subject))
        mail.set_raw("Date", format_datetime(self._sent_at))
        mail.set_raw("Message-ID", self.msgId)
        mail.set_raw("Content-Language", self._rendered.language)
        for name, value in _HEADERS.items():
            mail.set_raw(name, value)
        return mail

    def _parts(self) -> Part:
        # Plain text first: the last alternative is the preferred one (RFC 2046, 5.1.4).
        body = _multipart("alternative", self.msgId, _text(self.body, "plain"), self._page())
        if self._rendered.invitation is None:
            return body
        return _multipart("mixed", self.msgId, body, _calendar(self._rendered.invitation))

    def _page(self) -> Part:
        page = _text(self.html, "html")
        images = [_image(name, png) for name, png in self._rendered.images.items()]
        return _multipart("related", self.msgId, page, *images) if images else page


def _multipart(subtype: str, message_id: str, *parts: Part) -> Part:
    # A boundary of our own: the generator would search all of the mail for one that does not occur in it.
    boundary = hashlib.sha256(f"{subtype}\0{message_id}".encode()).hexdigest()[:16]
    whole = Part()
    whole["Content-Type"] = f'multipart/{subtype}; boundary="={boundary}="'
    whole.set_payload(list(parts))
    return whole


def _text(content: str, subtype: str, **parameters: str) -> Part:
    """A part of text. Quoted-printable keeps lines short and passes servers without 8BITMIME.

    Encoded by binascii: what EmailMessage does by itself takes longer than all the rest of a mail.
    """
    data = content.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
    part = Part()
    told = "".join(f';\r\n {name}="{value}"' for name, value in parameters.items())
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"{told}'
    part["Content-Transfer-Encoding"] = "quoted-printable"
    part.set_payload(b2a_qp(data, istext=True).decode("ascii"))
    return part


def _image(name: str, png: bytes) -> Part:
    part = Part()
    part["Content-Type"] = f'image/png; name="{name}.png"'
    part["Content-Transfer-Encoding"] = "base64"
    part["Content-Disposition"] = f'inline; filename="{name}.png"'
    part["Content-ID"] = f"<{name}>"
    part.set_payload(encodebytes(png).decode("ascii"))
    return part


def _calendar(invitation: Invitation) -> Part:
    """The calendar file beside the mail: read by calendars, and no invitation that asks for an answer."""
    part = _text(invitation.ics.decode(), "calendar", method=invitation.method, name="booking.ics")
    part["Content-Disposition"] = 'attachment; filename="booking.ics"'
    return part


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
    digest = hashlib.sha256(f"{notification_type}\0{event_id}".encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]
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
