"""The alphabet of SMS (3GPP TS 23.038, 6.2.1), what is written in it, and what a message costs.

A segment holds 160 septets of GSM-7, or 70 units of UCS-2 as soon as one character is not in the alphabet.
"""

from __future__ import annotations

import re
import unicodedata

from anyascii import anyascii

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("^{}\\[~]|€")
_ALPHABET = _BASIC | _EXTENSION

#: First and last character of the blocks that every language shares.
_SHARED = (
    ("\u00a0", "\u036f"),  # Latin, phonetic letters, combining marks
    ("\u1ab0", "\u1aff"),  # more marks
    ("\u1d00", "\u1eff"),  # more Latin
    ("\u2000", "\u2bff"),  # punctuation, currency, letterlike symbols, numbers, arrows, pictures
    ("\ua720", "\ua7ff"),  # more Latin
    ("\ufb00", "\ufb06"),  # ligatures
    ("\ufe00", "\ufe0f"),  # variation selectors
    ("\ufeff", "\uff5e"),  # full-width forms
    ("\U0001f000", "\U0001faff"),  # pictures
    ("\U000e0000", "\U000e01ef"),  # tags of flags
)

#: Alphabets whose words can be recognized in Latin letters: Greek, Cyrillic, Armenian, Georgian.
_ROMANIZED = (("\u0370", "\u058f"), ("\u10a0", "\u10ff"), ("\u1f00", "\u1fff"))

#: What anyascii gives for an emoji: its name, which nobody wants to read.
_EMOJI_NAME = re.compile(r":[a-z0-9_+-]+:")


def plain(text: str, *, romanize: bool = False) -> str:
    """Return `text` with what GSM-7 lacks replaced by its nearest twin there, and without pictures.

    Args:
        text: one line.
        romanize: write Greek, Cyrillic, Armenian, and Georgian in Latin letters. Other alphabets always stay.
    """
    blocks = _SHARED + _ROMANIZED if romanize else _SHARED
    written = (
        _nearest(character) if any(first <= character <= last for first, last in blocks) else character
        for character in unicodedata.normalize("NFC", text)
    )
    return re.sub(" +", " ", "".join(written)).strip()


def _nearest(character: str) -> str:
    if septets(character):
        return character
    twin = anyascii(character)
    return "" if _EMOJI_NAME.fullmatch(twin) or character >= "\U0001f000" else twin


def septets(text: str) -> int | None:
    """Return how many septets `text` takes; None if GSM-7 can't write it."""
    if not _ALPHABET.issuperset(text):
        return None
    return len(text) + sum(character in _EXTENSION for character in text)


def segments(text: str) -> int:
    """Return how many messages `text` travels as, and is billed as.

    Segments of several have a header of 6 bytes (3GPP TS 23.040, 9.2.3.24.1). A character that two septets or
    two units write is not divided, which can make one segment more than counted here.
    """
    count = septets(text)
    if count is not None:
        return 1 if count <= 160 else -(-count // 153)
    units = len(text.encode("utf-16-be")) // 2
    return 1 if units <= 70 else -(-units // 67)
