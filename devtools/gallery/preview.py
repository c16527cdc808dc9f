"""Compose mails like the worker, to show them instead of sending them."""

from __future__ import annotations

import base64
import email
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import default
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from actors.channels.email.channel import renderer_of
from actors.channels.email.compose import OutgoingMail, compose, message_id_for
from actors.channels.email.errors import InvalidAddress, RenderError
from app.languages import Languages

if TYPE_CHECKING:
    from app.settings import Settings

#: The Date of every preview, so that the same event always gives the same bytes.
SENT_AT = datetime(2026, 12, 1, 10, 30, tzinfo=UTC)

#: Replaces images from other origins: a preview loads nothing.
_STAND_IN = "data:image/svg+xml," + quote(
    """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 200 300" preserveAspectRatio="xMidYMid slice">\
<rect width="200" height="300" fill="#24304f"/><circle cx="128" cy="104" r="62" fill="#e9b44c"/>\
<path d="M0 214 62 132l48 62 34-40 56 76v70H0z" fill="#141c33"/>\
<path d="M28 258h144M28 274h92" stroke="#f4efe2" stroke-width="6"/></svg>"""
)
_REMOTE_IMAGE = re.compile(r"""(<img\b[^>]*?\ssrc=")https?://[^"]*""", re.IGNORECASE)


def languages() -> list[str]:
    """Return the languages of mails."""
    return list(Languages().all)


class Previewer:
    """Composes mails with the brand and sender of `settings`.

    Templates are read once. Create a new instance to read changed templates.
    """

    def __init__(self, settings: Settings) -> None:
        self._sender = (settings.from_name, settings.from_email)
        self._key = settings.suppression_secret
        self._renderer = renderer_of(settings)

    def compose(self, template: str, event: Mapping[str, Any]) -> OutgoingMail:
        """Return the mail for `event`, which must be valid.

        Raises:
            RenderError: a required field is missing or invalid.
        """
        rendered = self._renderer.render(template, event)
        try:
            return compose(
                rendered,
                recipient=event.get("user_email") or "",
                sender=self._sender,
                message_id=message_id_for(self._key, event["event_id"], "email", self._sender[1]),
                date=SENT_AT,
            )
        except InvalidAddress as error:
            raise RenderError(f"user_email: {error}") from None


class Preview:
    """The parts of a mail to show in a page.

    Args:
        wire: the message as it would be sent.

    Attributes:
        headers: in their order, without those of MIME.
        text: the plain-text part.
        html: the HTML part with attached images inlined, and placeholders for remote images.
        structure: the MIME parts as an indented list, with sizes in bytes.
    """

    def __init__(self, wire: bytes) -> None:
        message = email.message_from_bytes(wire, policy=default)
        self.headers = [
            (name, str(value))
            for name, value in message.items()
            if not name.lower().startswith(("content-", "mime-"))
        ]
        self.text = _body(message, "plain")
        self.html = _REMOTE_IMAGE.sub(rf"\1{_STAND_IN}", _with_attached(message, _body(message, "html")))
        self.structure = "\n".join(_structure(message))


def _body(message: EmailMessage, subtype: str) -> str:
    part = cast(EmailMessage, message.get_body((subtype,)))
    content: str = part.get_content()
    return content.replace("\r\n", "\n")


def _with_attached(message: EmailMessage, html: str) -> str:
    """Return `html` with its attached images (RFC 2392) inlined as data URLs."""
    for part in message.walk():
        if part["Content-ID"] and part.get_content_maintype() == "image":
            data = base64.b64encode(part.get_content()).decode()
            html = html.replace(
                f"cid:{part['Content-ID'].strip('<>')}", f"data:{part.get_content_type()};base64,{data}"
            )
    return html


def _structure(part: EmailMessage, depth: int = 0) -> Iterator[str]:
    kind = "  " * depth + part.get_content_type()
    if part.is_multipart():
        yield kind
        for inner in part.iter_parts():
            yield from _structure(cast(EmailMessage, inner), depth + 1)
    else:
        name = part.get_filename()
        size = len(cast(bytes, part.get_payload(decode=True)))
        yield f"{kind}{f' {name}' if name else ''}, {size:,} bytes"
