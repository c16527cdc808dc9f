"""Find a person in the text of a message, also if the message is not a readable event."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import idna

from app.channels import ChannelName
from app.messaging.wire import MAX_MESSAGE_BYTES
from app.suppressions.addresses import normalize

if TYPE_CHECKING:
    from app.privacy.erasures import Person

#: JSON may contain JSON in a string, whose escapes are then escaped too.
_MAX_UNESCAPES = 3

_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)

#: Control characters that no text contains. JSON escapes them.
_BINARY = re.compile(r"[\x00-\x08\x0e-\x1f]")

#: An identifier ends here: `jane@example.com` is not in `jane@example.com.au`.
_END = r"(?![.@-]?\w)"

#: Minimum length of a phone number in digits. A shorter number may be any number.
_MIN_PHONE_DIGITS = 7

#: What people write between the digits of a phone number.
_SEPARATORS = r"[\s()./-]{0,3}"

#: Minimum length of a user id that is found anywhere. A shorter id, such as 5, counts only after the words
#: "user id".
_MIN_USER_ID_LENGTH = 8

#: A field for the user's id, in any notation: `"user_id": "`, `userId=`, `"user": {"id": "`, `<user-id>`.
_USER_ID_FIELD = r"(?i:user)[\W_]{0,40}(?i:id)\W{1,8}"


class Unsearchable(Exception):
    """A body can't be searched. The text is the reason."""


class Mentions:
    """Search for a person's email addresses, phone numbers, and user ids.

    The search does not parse the text, so it also works in damaged JSON and in other formats.

    Args:
        person: who.
    """

    def __init__(self, person: Person) -> None:
        # An empty pattern would match everything.
        self._pattern = re.compile("|".join(_patterns(person)) or r"(?!)")

    def are_in(self, body: bytes) -> bool:
        """Return whether a message mentions the person.

        Raises:
            Unsearchable: the body is larger than every message of movieapp, or is not text.
        """
        if len(body) > MAX_MESSAGE_BYTES:
            raise Unsearchable(f"the body has more than {MAX_MESSAGE_BYTES} bytes")
        text = body.decode(json.detect_encoding(body), "replace")
        if any(self._pattern.search(reading) for reading in _readings(text)):
            return True
        if _BINARY.search(text):
            raise Unsearchable("the body is not text")
        return False


def _readings(text: str) -> Iterator[str]:
    """Yield a text as it stands, and without the escapes of JSON."""
    yield unicodedata.normalize("NFC", text)
    for _ in range(_MAX_UNESCAPES):
        if "\\" not in text:
            return
        unescaped = _ESCAPE.sub(_unescaped, text)
        # Joins the two halves of a character that JSON escapes as two.
        text = unescaped.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        yield unicodedata.normalize("NFC", text)


def _unescaped(escape: re.Match[str]) -> str:
    code, character = escape.groups()
    if code:
        return chr(int(code, 16))
    return " " if character in "bfnrt" else str(character)


def _patterns(person: Person) -> Iterator[str]:
    for spelling in {each for email in person.emails for each in _spellings(email)}:
        local, _, domain = spelling.rpartition("@")
        if local and domain:
            address = rf'{re.escape(local.strip(chr(34)))}"?@{re.escape(domain)}'
            yield rf"(?i:(?<![\w.+-]){address}){_END}"
    for phone in person.phones:
        digits = re.sub(r"\D", "", normalize(ChannelName.SMS, phone))
        if len(digits) >= _MIN_PHONE_DIGITS:
            yield rf"(?<!\d)(?:00)?{_SEPARATORS.join(digits)}(?!\d)"
    for user_id in filter(None, person.stored_user_ids):
        anywhere = r"(?<![\w.@-])|" if len(user_id) >= _MIN_USER_ID_LENGTH else ""
        yield rf"(?:{anywhere}{_USER_ID_FIELD}){re.escape(user_id)}{_END}"


def _spellings(email: str) -> set[str]:
    """Return an address as typed and normalized, and with its domain in Unicode."""
    normalized = normalize(ChannelName.EMAIL, email)
    found = {unicodedata.normalize("NFC", email.strip()), normalized}
    local, _, domain = normalized.rpartition("@")
    with suppress(idna.IDNAError, UnicodeError):
        found.add(f"{local}@{idna.decode(domain)}")
    return found
