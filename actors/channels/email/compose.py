"""Compose MIME messages from rendered mails, as Flask-Mail's `Message`."""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import encodebytes
from binascii import b2a_qp
from datetime import datetime
from email.header import Header
from email.message import Message as Part
from email.policy import Compat32
from email.utils import format_datetime

from flask_mail import Message

from actors.channels.email.errors import InvalidAddress
from actors.channels.email.invitation import Invitation
from actors.channels.email.render import Rendered
from actors.channels.email.wallet import CONTENT_TYPE
from app import addresses
from app.addresses import Address, parse_address
from app.channels import DELIVERY_ID_HEADER
from app.text import one_line

#: Suppress vacation notices: RFC 3834, and the equivalent of Exchange.
_HEADERS = {
    "Auto-Submitted": "auto-generated",
    "X-Auto-Response-Suppress": "All",
    "MIME-Version": "1.0",
}


class _AsTheyAre(Compat32):
    """Policy for parts: movieapp writes their short, plain headers, so they need no checks."""

    def fold_binary(self, name: str, value: str) -> bytes:
        return f"{name}: {value}\r\n".encode("ascii")


_WIRE = _AsTheyAre(linesep="\r\n")

#: RFC 2047, 2: characters of an encoded word. `Header` does not count the space that begins a folded line.
_MAX_WORD_LINE = 75

#: Characters that a display name may contain without quotes (RFC 5322, 3.2.3).
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")

_MAX_SUBJECT_LENGTH = 200
_MAX_NAME_LENGTH = 100


class OutgoingMail(Message):
    """Flask-Mail's message, made by `compose` and written by the standard library.

    Flask-Mail 0.10 puts the alternatives into a multipart/mixed, lets line breaks of extra headers through,
    and requires an application context. So this class uses its fields, but not its MIME code.

    Attributes:
        envelope_from: where bounces go.
        envelope_to: the one recipient.
        needs_smtputf8: whether one of the two is outside ASCII, so that the server must support SMTPUTF8.
    """

    body: str
    html: str

    def __init__(
        self,
        rendered: Rendered,
        *,
        recipient: Address,
        sender: tuple[str, Address],
        message_id: str,
        date: datetime,
    ) -> None:
        name, address = sender
        super().__init__(
            subject=one_line(rendered.subject, _MAX_SUBJECT_LENGTH),
            recipients=[str(recipient)],
            body=rendered.text,
            html=rendered.html,
            sender=str(address),
            date=date.timestamp(),
        )
        self.msgId = message_id
        self.envelope_from = str(address)
        self.envelope_to = str(recipient)
        self.needs_smtputf8 = recipient.needs_smtputf8 or address.needs_smtputf8
        self._from = _mailbox(name, address)
        self._sent_at = date
        self._rendered = rendered

    def as_bytes(self) -> bytes:
        """Return the message's bytes."""
        headers = {
            "From": self._from,
            # In angle brackets, because SpamAssassin penalizes their absence (TO_NO_BRKTS_HTML_IMG).
            "To": f"<{self.envelope_to}>",
            "Subject": _encoded(self.subject, "Subject"),
            "Date": format_datetime(self._sent_at),
            "Message-ID": self.msgId,
            DELIVERY_ID_HEADER: self.msgId,
            "Content-Language": self._rendered.language,
            **_HEADERS,
        }
        # Not written by EmailMessage: every value is already checked or encoded, parsing it again takes
        # longer than everything else, and folding on Python 3.11 loses spaces in names.
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        # A non-ASCII address is written in UTF-8 (RFC 6532), for servers that support SMTPUTF8.
        return head.encode() + self._parts().as_bytes(policy=_WIRE)

    def _parts(self) -> Part:
        # Plain text first: the last alternative is the preferred one (RFC 2046, 5.1.4).
        body = _multipart("alternative", self.msgId, _text(self.body, "plain"), self._page())
        attachments = [_pass(name, data) for name, data in self._rendered.passes.items()]
        if self._rendered.invitation:
            attachments.append(_calendar(self._rendered.invitation))
        return _multipart("mixed", self.msgId, body, *attachments) if attachments else body

    def _page(self) -> Part:
        page = _text(self.html, "html")
        images = [_image(name, png) for name, png in self._rendered.images.items()]
        return _multipart("related", self.msgId, page, *images) if images else page


def _multipart(subtype: str, message_id: str, *parts: Part) -> Part:
    # Our own boundary, because the generator would search the whole mail for an unused one.
    boundary = hashlib.sha256(f"{subtype}\0{message_id}".encode()).hexdigest()[:16]
    container = Part()
    container["Content-Type"] = f'multipart/{subtype}; boundary="={boundary}="'
    container.set_payload(list(parts))
    return container


def _text(content: str, subtype: str, **parameters: str) -> Part:
    """Return a text part. Quoted-printable keeps lines short and passes servers without 8BITMIME.

    It is encoded with binascii, because EmailMessage's encoding takes longer than the rest of a mail.
    """
    data = content.replace("\r\n", "\n").replace("\n", "\r\n").encode("utf-8", "replace")
    part = Part()
    encoded = "".join(f';\r\n {name}="{value}"' for name, value in parameters.items())
    part["Content-Type"] = f'text/{subtype}; charset="utf-8"{encoded}'
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


def _pass(name: str, data: bytes) -> Part:
    part = Part()
    part["Content-Type"] = f'{CONTENT_TYPE}; name="{name}"'
    part["Content-Transfer-Encoding"] = "base64"
    part["Content-Disposition"] = f'attachment; filename="{name}"'
    part.set_payload(encodebytes(data).decode("ascii"))
    return part


def _calendar(invitation: Invitation) -> Part:
    """Return the attached calendar file. It does not request a reply."""
    part = _text(invitation.ics.decode(), "calendar", method=invitation.method, name="booking.ics")
    part["Content-Disposition"] = 'attachment; filename="booking.ics"'
    return part


def compose(
    rendered: Rendered, *, recipient: str, sender: tuple[str, str], message_id: str, date: datetime
) -> OutgoingMail:
    """Compose a mail: multipart/alternative, text then HTML.

    Args:
        rendered: the rendered parts.
        recipient: one address.
        sender: name and address.
        message_id: from `message_id_for`, with angle brackets.
        date: an aware datetime.

    Raises:
        InvalidAddress: the recipient's or sender's address is invalid.
    """
    name, address = sender
    try:
        to, by = parse_address(recipient), parse_address(address)
    except addresses.InvalidAddress as error:
        raise InvalidAddress(str(error)) from None
    return OutgoingMail(
        rendered,
        recipient=to,
        sender=(one_line(name, _MAX_NAME_LENGTH), by),
        message_id=message_id,
        date=date,
    )


def message_id_for(key: bytes, event_id: str, notification_type: str, from_email: str) -> str:
    """Return the Message-ID of a delivery, the same at every attempt and replay, so that copies can be
    recognized.

    Args:
        key: keeps strangers who guess an event's id from naming the mail in a forged bounce.
        event_id: id of the mail's event.
        notification_type: the channel.
        from_email: the sender, because RFC 5322, 3.6.4 recommends one's own domain.
    """
    domain = parse_address(from_email).domain
    # Hashed, because an event id may contain any characters, and recipients need not see it.
    named = f"{notification_type}\0{event_id}".encode("utf-8", "surrogatepass")
    return f"<{hmac.new(key, named, hashlib.sha256).hexdigest()[:32]}@{domain}>"


def _encoded(text: str, header: str) -> str:
    """Encode and fold the value of a header (RFC 2047).

    Text that looks like an encoded word is encoded too, or `=?utf-8?q?=0D=0ABcc=3A_x?=` would write a header.
    So is a word that is too long for a line, because folding would insert a blank.
    """
    plain = text.isascii() and "=?" not in text and max(map(len, text.split(" "))) < _MAX_WORD_LINE // 2
    charset = "us-ascii" if plain else "utf-8"
    return Header(text, charset, _MAX_WORD_LINE, header).encode(linesep="\r\n")


def _mailbox(name: str, address: Address) -> str:
    """Return the value of From (RFC 5322, 3.4)."""
    if not name:
        return str(address)
    if not name.isascii() or "=?" in name:
        phrase = _encoded(name, "From")
    elif _ATOMS.fullmatch(name):
        phrase = name
    else:
        phrase = '"' + re.sub(r'(["\\])', r"\\\1", name) + '"'
    fits = len(f"From: {phrase} <{address}>") <= _MAX_WORD_LINE
    return f"{phrase} <{address}>" if fits else f"{phrase}\r\n <{address}>"
