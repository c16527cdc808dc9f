"""The alphabet of texts (3GPP TS 23.038, 6.2.1) and what a text costs in it.

A segment holds 160 septets of GSM-7, or 70 units of UCS-2 as soon as one character is not in the alphabet.
"""

from __future__ import annotations

import unicodedata

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("^{}\\[~]|€")
_ALPHABET = _BASIC | _EXTENSION

#: Typography with a plain twin. Those without a decomposition in Unicode; NFKD knows the others.
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛′‹›`´", "'"),
        **dict.fromkeys("“”„‟″«»", '"'),
        **dict.fromkeys("‐‑‒–—―−", "-"),
        "…": "...",
        "•": "-",
        "·": "-",
        "đ": "d",
        "ħ": "h",
        "ı": "i",
        "ł": "l",
        "Ł": "L",
        "œ": "oe",
        "Œ": "OE",
    }
)

#: Symbols that stand for no letter, and the invisible marks that join them.
_PICTURES = ("So", "Cf")
_AS_PICTURE = "\N{VARIATION SELECTOR-16}"


def plain(text: str) -> str:
    """`text` with what GSM-7 lacks replaced by its nearest twin there, and pictures left out.

    Letters of other alphabets stay as they are.
    """
    return "".join(map(_nearest, text.translate(_PLAIN)))


def _nearest(character: str) -> str:
    if septets(character):
        return character
    if unicodedata.category(character) in _PICTURES or character == _AS_PICTURE:
        return ""
    parts = unicodedata.normalize("NFKD", character)
    base = "".join(part for part in parts if not unicodedata.combining(part))
    return base if septets(base) else character


def septets(text: str) -> int | None:
    """How many septets `text` takes; None if GSM-7 can't write it."""
    if not _ALPHABET.issuperset(text):
        return None
    return len(text) + sum(character in _EXTENSION for character in text)


def one_segment(text: str) -> bool:
    """Whether `text` travels, and is billed, as one message."""
    count = septets(text)
    return count <= 160 if count is not None else len(text.encode("utf-16-be")) <= 140
