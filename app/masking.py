"""Mask personal data that operators see: addresses, phone numbers, and quoted text."""

from __future__ import annotations

import re

HIDDEN = "…"

#: Text to mask: text in brackets or quotes, a word with an @, and the digits of a phone number, but not of a
#: date, an id, or an SMTP reply such as "550 5.7.60".
_PRIVATE = re.compile(
    r"(?P<quoted><[^<>]*>|\"[^\"]*\"|'[^']*'|“[^”]*”|‘[^’]*’)"
    r"|[^\s<>()\"',;:]*(?:@|＠|%40)[^\s<>()\"',;]*"
    r"|(?<![\w.-])(?!\d{4}-\d\d-\d\d|[245]\d\d[ -][245]\.\d{1,3}\.\d{1,3}(?![\d.]))"
    r"\+?\d(?:[ ()./-]{0,2}\d){6,}(?![\w-])",
    re.IGNORECASE,
)
_FIELD_NAME = re.compile(r"[a-z_]{1,40}")


def mask_address(value: str) -> str:
    """Return an email address as `j…@e….com`, a phone number as its last two digits."""
    local, at, domain = value.rpartition("@")
    if at:
        host, dot, ending = domain.rpartition(".")
        return f"{local[:1]}{HIDDEN}@{host[:1]}{HIDDEN}{dot}{ending}"
    return f"{HIDDEN}{value[-2:]}"


def mask_text(text: str) -> str:
    """Return text without addresses, phone-like numbers, and quoted text.

    Quoted field names stay.
    """
    return _PRIVATE.sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    if quoted := found["quoted"]:
        inside = quoted[1:-1]
        if _FIELD_NAME.fullmatch(inside):
            return quoted
        return f"{quoted[0]}{mask_address(inside) if '@' in inside else HIDDEN}{quoted[-1]}"
    return mask_address(found[0])
