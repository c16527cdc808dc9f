"""Keyed hashes of addresses: what the suppression list stores in place of addresses.

With the key, one can test whether an address is listed, but not read the addresses from the list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata

from app.addresses import InvalidAddress, parse_address
from app.channels import ChannelName

#: Number of last digits of a phone number that are shown.
_SHOWN_DIGITS = 2


def normalize(channel: ChannelName, address: str) -> str:
    """Return the normal form of `address`, equal for all spellings of one recipient.

    Email addresses are in lower case, with the domain in ASCII (IDNA 2008). RFC 5321 allows case-sensitive
    mailboxes, but providers do not use them. Dots and `+tags` stay, because their meaning depends on the
    provider. Phone numbers are in E.164. Other values are only lowercased, so a lookup never fails.
    """
    text = unicodedata.normalize("NFC", address.strip())
    return _NORMALIZED[channel](text)


def suppression_id(key: bytes, channel: ChannelName, address: str) -> str:
    """Return the id of an address in the suppression list: the channel and a keyed hash."""
    normalized = normalize(channel, address)
    return f"{channel}:{hmac.new(key, f'{channel}:{normalized}'.encode(), hashlib.sha256).hexdigest()}"


def hint(channel: ChannelName, address: str) -> str:
    """Return a hint to recognize an address by: `…@example.com`, `+4…23`."""
    normalized = normalize(channel, address)
    if channel is ChannelName.EMAIL:
        return f"…@{normalized.rpartition('@')[2]}"
    return f"{normalized[:2]}…{normalized[-_SHOWN_DIGITS:]}"


def _email(text: str) -> str:
    try:
        return str(parse_address(text)).casefold()
    except InvalidAddress:
        return text.casefold()


def _phone(text: str) -> str:
    import phonenumbers  # imported here, because it is slow to load and few processes need it

    try:
        parsed = phonenumbers.parse(text)
    except phonenumbers.NumberParseException:
        return re.sub(r"[^0-9+]", "", text) or text.casefold()
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


_NORMALIZED = {ChannelName.EMAIL: _email, ChannelName.SMS: _phone}
