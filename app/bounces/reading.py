"""Read MIME messages from untrusted senders within limits of size, depth, and time."""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, message_from_string
from email.header import decode_header, make_header
from email.message import Message

#: Maximum bytes read of a message. The report comes first, then our own mail.
MAX_BYTES = 512 * 1024

#: Reports have three or four levels of nesting. A message with more parts is not a report.
_MAX_BOUNDARIES, _MAX_PARTS = 40, 100

#: Maximum characters of text, and header blocks, that are read.
_MAX_TEXT, _MAX_BLOCKS = 32_000, 100

#: Python codecs that are not charsets, or take quadratic time.
_NO_CHARSETS = {"idna", "punycode", "raw-unicode-escape", "unicode-escape", "undefined"}

_RETURNED_TYPES = {
    "message/rfc822", "text/rfc822-headers", "message/rfc822-headers", "message/global",
    "message/global-headers", "message/partial",
}  # fmt: skip
_STATUS_TYPES = {"message/delivery-status", "message/global-delivery-status", "text/delivery-status"}

_TAG = re.compile(r"<[^<>]{0,2000}>")
_HIDDEN_HTML = re.compile(r"<(style|script|head)\b.{0,3000}?</\1>", re.IGNORECASE | re.DOTALL)
_BREAKS = re.compile(r"<(br|/p|/div|/tr|/h\d|/li)\b[^<>]{0,200}>", re.IGNORECASE)


class TooComplex(ValueError):
    """The message is nested too deeply, or has too many parts."""


@dataclass
class Returned:
    """The relevant parts of a message.

    Attributes:
        headers: headers of the message.
        types: content types of its parts, outer ones first.
        blocks: header blocks of its delivery status; the first is about the whole message.
        text: its readable text.
        original: headers of the returned mail, or None.
        start: the message without the rest of its text.
    """

    headers: Message
    types: list[str] = field(default_factory=list)
    blocks: list[Message] = field(default_factory=list)
    text: str = ""
    original: Message | None = None
    start: Message = field(default_factory=Message)

    def header(self, name: str) -> str:
        """Return a decoded header; "" if there is none."""
        return decoded(self.headers.get(name))


def read(raw: bytes) -> Returned:
    """Read a message.

    Args:
        raw: the message; only its first `MAX_BYTES` are read.

    Raises:
        TooComplex: the message is nested too deeply, or has too many parts.
    """
    raw = raw[:MAX_BYTES]
    lower = raw.lower()
    if lower.count(b"boundary") > _MAX_BOUNDARIES or lower.count(b"content-type") > _MAX_PARTS:
        raise TooComplex
    found = Returned(message_from_bytes(raw), start=message_from_bytes(raw[:_MAX_TEXT]))
    plain: list[str] = []
    rich: list[str] = []
    for part in _parts(found.headers):
        kind = part.get_content_type()
        found.types.append(kind)
        if kind in _STATUS_TYPES:
            found.blocks += _blocks(part)[:_MAX_BLOCKS]
        elif kind in _RETURNED_TYPES:
            found.original = found.original or _original(part)
        elif kind == "text/plain":
            plain.append(_text(part))
        elif kind == "text/html":
            rich.append(_without_tags(_text(part)))
    found.text = "\n".join(plain or rich)[:_MAX_TEXT]
    return found


def decoded(value: object) -> str:
    """Return a header's value on one line, with encoded words decoded where possible."""
    text = str(value or "")[:2_000]
    with suppress(LookupError, ValueError, UnicodeError):
        text = str(make_header(decode_header(text)))
    return " ".join(text.split())


def _parts(message: Message) -> Iterator[Message]:
    """Yield the parts, outer ones first, without those of a returned mail."""
    rest = [message]
    while rest:
        part = rest.pop(0)
        kind = part.get_content_type()
        yield part
        payload = part.get_payload()
        if isinstance(payload, list) and kind not in _STATUS_TYPES | _RETURNED_TYPES:
            rest += [each for each in payload if isinstance(each, Message)]


def _blocks(part: Message) -> list[Message]:
    payload = part.get_payload()
    if isinstance(payload, list):
        inner = [block for block in payload if isinstance(block, Message)]
        if len(inner) > 1 and any(block.keys() for block in inner):
            return inner
        # Encoded, or of a type that Python parses as a message with a body.
        text = "\n".join(block.as_string() for block in inner)
    else:
        text = _text(part)
    if ":" not in text:
        text = _from_base64(text).decode("utf-8", "replace")
    blocks = re.split(r"\r?\n[ \t]*\r?\n", text[:_MAX_TEXT].strip())
    return [message_from_string(block.strip()) for block in blocks if block.strip()]


def _original(part: Message) -> Message | None:
    payload = part.get_payload()
    if isinstance(payload, list):
        inner = payload[0] if payload and isinstance(payload[0], Message) else None
        if inner is not None and inner.keys():
            return inner
        text = str(inner.get_payload()) if inner is not None else ""
    else:
        text = _text(part)
    headers = message_from_string(text[:_MAX_TEXT].lstrip())
    if headers.keys():
        return headers
    plain = _from_base64(text)
    return message_from_bytes(plain) if plain else None


def _from_base64(text: str) -> bytes:
    """Decode base64 that some servers use although RFC 2046 forbids it; empty if it is not base64."""
    try:
        return base64.b64decode(re.sub(r"\s", "", text)[: _MAX_TEXT // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _text(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    charset = str(part.get_content_charset() or "utf-8")
    try:
        if codecs.lookup(charset).name in _NO_CHARSETS:
            charset = "latin-1"
        return payload[: 4 * _MAX_TEXT].decode(charset, "replace")[:_MAX_TEXT]
    except (LookupError, UnicodeError, ValueError):
        return payload[:_MAX_TEXT].decode("latin-1")


def _without_tags(page: str) -> str:
    return html.unescape(_TAG.sub(" ", _BREAKS.sub("\n", _HIDDEN_HTML.sub(" ", page))))
