"""The GSM-7 alphabet of SMS (3GPP TS 23.038, 6.2.1), conversion to it, and segment counts.

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

#: First and last character of the blocks that all languages share.
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

#: anyascii replaces an emoji by its name, which is removed.
_EMOJI_NAME = re.compile(r":[a-z0-9_+-]+:")


def plain(text: str, *, romanize: bool = False) -> str:
    """Return `text` with characters outside GSM-7 replaced by similar ones, and without emoji.

    Args:
        text: one line.
        romanize: transliterate Greek, Cyrillic, Armenian, and Georgian. Other scripts stay.
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
    """Return the number of septets of `text`; None if it is not in GSM-7."""
    if not _ALPHABET.issuperset(text):
        return None
    return len(text) + sum(character in _EXTENSION for character in text)


def segments(text: str) -> int:
    """Return the number of segments that `text` is sent and billed as.

    Segments of several have a header of 6 bytes (3GPP TS 23.040, 9.2.3.24.1). A character of two septets or
    units is not split, which can add one segment to this count.
    """
    count = septets(text)
    if count is not None:
        return 1 if count <= 160 else -(-count // 153)
    units = len(text.encode("utf-16-be")) // 2
    return 1 if units <= 70 else -(-units // 67)
