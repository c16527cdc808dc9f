"""Validate email addresses and convert them to the form that SMTP uses.

The API, the events, and the mails share these rules, so an accepted address does not fail later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import idna

from app.text import HIDDEN

#: RFC 5321, 4.5.3.1: octets.
_MAX_LOCAL_PART = 64
_MAX_ADDRESS = 254

# Invisible characters, and replacement characters.
_UNKNOWN = rf"{HIDDEN}\ufffd"
# Any character that an atom may have (RFC 5322, 3.2.3; RFC 6532), and dots anywhere: some Japanese providers
# gave out addresses such as abc..def@docomo.ne.jp. SMTP takes those as a quoted string. Spaces and brackets
# are legal in quotes, but no customer has them. "=?" starts an encoded word (RFC 2047).
_LOCAL = rf'(?![^@]*=\?)[^{_UNKNOWN}"(),:;<>@\[\]\\]{{1,{_MAX_LOCAL_PART}}}'
# Letters, digits, and hyphens within; the IDNA check below decides about characters outside ASCII.
_OUTER = rf"[^{_UNKNOWN}\u0000-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u00a0]"
_LABEL = rf"{_OUTER}(?:(?:{_OUTER}|-){{0,61}}{_OUTER})?"

#: One address without a name, in the syntax that Python's and ECMAScript's regular expressions share.
#: Surrounding spaces are accepted. `(?!\n)`: Python's `$` also matches before a line break at the end.
ADDRESS_PATTERN = rf'^ *(?:"{_LOCAL}"|{_LOCAL})@{_LABEL}(?:\.{_LABEL})* *$(?!\n)'

_ADDRESS = re.compile(ADDRESS_PATTERN)
_DOT_ATOM = re.compile(r"[^.]+(\.[^.]+)*")


class InvalidAddress(ValueError):
    """The address can't receive mail. The message gives the reason and omits the address."""


@dataclass(frozen=True)
class Address:
    """An address in the form that SMTP uses.

    Attributes:
        local: the part before the @, in quotes where its dots need them.
        domain: in ASCII, by IDNA 2008.
    """

    local: str
    domain: str

    def __str__(self) -> str:
        return f"{self.local}@{self.domain}"

    @property
    def needs_smtputf8(self) -> bool:
        """Return whether every server on the way must support SMTPUTF8 (RFC 6531)."""
        return not self.local.isascii()


@lru_cache(maxsize=256)
def parse_address(address: str) -> Address:
    """Parse one address.

    Args:
        address: `local@domain`, without a name or angle brackets; its domain in any script.

    Raises:
        InvalidAddress: it is not one address, or its domain is invalid.
    """
    if not _ADDRESS.match(address):
        raise InvalidAddress(
            "The value must be one email address without a display name, such as jane.doe@example.com."
        )
    local, _, domain = address.strip(" ").rpartition("@")
    if local.startswith('"'):
        local = local[1:-1]
    if not domain.isascii():
        try:
            # UTS 46, as browsers do it. The codec in Python's library knows only IDNA 2003, under which
            # straße.example becomes strasse.example: another domain, and perhaps another owner.
            domain = idna.encode(domain, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise InvalidAddress("The domain after the @ is invalid under IDNA 2008.") from None
    if not _DOT_ATOM.fullmatch(local):
        local = f'"{local}"'
    if len(local.encode()) > _MAX_LOCAL_PART or len(local.encode()) + 1 + len(domain) > _MAX_ADDRESS:
        raise InvalidAddress(
            f"The email address must have at most {_MAX_LOCAL_PART} bytes before the @ "
            f"and {_MAX_ADDRESS} bytes in total."
        )
    return Address(local, domain)
