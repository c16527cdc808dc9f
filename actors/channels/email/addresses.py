"""Email addresses as SMTP takes them."""

from __future__ import annotations

import re

import idna

from actors.channels.email.errors import InvalidAddress

# RFC 5322, 3.2.3: dot-atom. Quoted local parts and address literals are legal and never a customer's. Nor is
# "=?", which the standard library would decode (RFC 2047), line breaks and all.
_LOCAL_PART = re.compile(r"(?!.*=\?)[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*")

# RFC 5321, 4.5.3.1: octets.
_LONGEST_LOCAL_PART = 64
_LONGEST_ADDRESS = 254


def ascii_address(address: str) -> str:
    """Check one address and give it in ASCII, its domain in IDNA 2008.

    A local part outside ASCII is refused: it needs SMTPUTF8 (RFC 6531) at every server on the way, and one
    that lacks it returns the mail long after we called it sent.

    Args:
        address: `local@domain`, without a name or angle brackets.

    Raises:
        InvalidAddress: it is not one address, or not one that mail can be sent to.
    """
    local, _, domain = address.strip().rpartition("@")
    if not local.isascii():
        raise InvalidAddress(
            f"{_shown(address)}: characters outside ASCII before the @ (SMTPUTF8) are not supported"
        )
    try:
        # UTS 46 as browsers do it. The codec in Python's library knows only IDNA 2003, under which
        # straße.example becomes strasse.example: another domain, and perhaps another owner.
        domain = idna.encode(domain, uts46=True).decode("ascii") if not domain.isascii() else domain
    except (idna.IDNAError, UnicodeError):
        raise InvalidAddress(f"{_shown(address)}: there can be no such domain") from None
    if (
        not _LOCAL_PART.fullmatch(local)
        or not _DOMAIN.fullmatch(domain)
        or len(local) > _LONGEST_LOCAL_PART
        or len(local) + 1 + len(domain) > _LONGEST_ADDRESS
    ):
        raise InvalidAddress(f"{_shown(address)} is not an email address")
    return f"{local}@{domain}"


def _shown(address: str) -> str:
    return repr(address if len(address) <= 80 else address[:80] + "…")
