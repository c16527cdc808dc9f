"""A rendered mail as a MIME message, on Flask-Mail's `Message`."""

from __future__ import annotations

import hashlib
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
from app import addresses
from app.addresses import Address, parse_address
from app.text import one_line

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

#: RFC 2047, 2: characters of an encoded word. `Header` does not count the blank that begins a folded line.
_MAX_WORD_LINE = 75

#: What a display name may have without quotes (RFC 5322, 3.2.3).
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")

_LONGEST_SUBJECT = 200
_LONGEST_NAME = 100


class OutgoingMail(Message):
    """Flask-Mail's message, made by `compose` and written by the standard library.

    Flask-Mail 0.10 puts the alternatives into a multipart/mixed, lets line breaks of extra headers through,
    and asks for an application context. So only its fields are used, not its MIME.

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
            subject=one_line(rendered.subject, _LONGEST_SUBJECT),
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
        """Return the message as it goes over the wire."""
        headers = {
            "From": self._from,
            # In angle brackets: SpamAssassin counts their absence (TO_NO_BRKTS_HTML_IMG).
            "To": f"<{self.envelope_to}>",
            "Subject": _encoded(self.subject, "Subject"),
            "Date": format_datetime(self._sent_at),
            "Message-ID": self.msgId,
            "Content-Language": self._rendered.language,
            **_HEADERS,
        }
        # Written here, not by EmailMessage: every value is checked or encoded already, parsing it anew takes
        # longer than all the rest, and folding on Python 3.11 loses blanks in names.
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        # An address outside ASCII stands in UTF-8 (RFC 6532), for servers that support SMTPUTF8.
        return head.encode() + self._parts().as_bytes(policy=_WIRE)

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
    try:
        to, by = parse_address(recipient), parse_address(address)
    except addresses.InvalidAddress as error:
        raise InvalidAddress(str(error)) from None
    return OutgoingMail(
        rendered,
        recipient=to,
        sender=(one_line(name, _LONGEST_NAME), by),
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
    domain = parse_address(from_email).domain
    # Hashed: an event id may have any characters, and need not be told to the recipient.
    digest = hashlib.sha256(f"{notification_type}\0{event_id}".encode("utf-8", "surrogatepass")).hexdigest()[
        :32
    ]
    return f"<{digest}@{domain}>"


def _encoded(text: str, header: str) -> str:
    """Encode the value of a header by RFC 2047, folded.

    Text that looks like an encoded word is encoded too, or `=?utf-8?q?=0D=0ABcc=3A_x?=` would write a header.
    So is a word that no line is long enough for: folding would put a blank before it.
    """
    plain = text.isascii() and "=?" not in text and max(map(len, text.split(" "))) < _MAX_WORD_LINE // 2
    charset = "us-ascii" if plain else "utf-8"
    return Header(text, charset, _MAX_WORD_LINE, header).encode(linesep="\r\n")


def _mailbox(name: str, address: Address) -> str:
    """The value of From (RFC 5322, 3.4)."""
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
