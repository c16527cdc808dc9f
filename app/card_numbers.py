"""Find payment card numbers in text, in any notation.

A card number is a prefix that an issuer owns, the length that goes with the prefix, and a valid check digit
(ISO/IEC 7812-1). Digits of any script count; anything but a letter may stand between them, any number of
times. Letters may stand between groups that are printed on cards (4-4-4-4, 4-6-5). The number may touch other
digits, such as an expiry date, a security code, or a seat.

docs/security.md states how often other numbers are mistaken for card numbers.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple
from urllib.parse import unquote_plus

#: The fewest digits of a card number.
MIN_DIGITS = 12

#: Ranges of the first four digits, and the lengths that are issued in them: ISO/IEC 7812 registrations, as
#: the networks publish them. UATP (prefix 1) is omitted, because timestamps in milliseconds begin with 1.
_ISSUED: tuple[tuple[int, int, tuple[int, ...]], ...] = (
    (2200, 2204, (16, 17, 18, 19)),  # Mir
    (2221, 2720, (16,)),  # Mastercard
    (3000, 3059, (14, 16)),  # Diners Club
    (3095, 3095, (14, 16)),  # Diners Club
    (3400, 3499, (15,)),  # American Express
    (3528, 3589, (16, 17, 18, 19)),  # JCB
    (3600, 3699, (14, 16)),  # Diners Club
    (3700, 3799, (15,)),  # American Express
    (3800, 3999, (14, 16)),  # Diners Club
    (4000, 4999, (13, 16, 19)),  # Visa
    (5018, 5018, tuple(range(12, 20))),  # Maestro
    (5019, 5019, (16,)),  # Dankort
    (5020, 5020, tuple(range(12, 20))),  # Maestro
    (5038, 5038, tuple(range(12, 20))),  # Maestro
    (5060, 5099, (16, 18, 19)),  # Elo, RuPay, Verve
    (5100, 5599, (16,)),  # Mastercard
    (5893, 5893, tuple(range(12, 20))),  # Maestro
    (6000, 6099, (16, 17, 18, 19)),  # Discover, RuPay
    (6200, 6299, (16, 17, 18, 19)),  # UnionPay
    (6304, 6304, tuple(range(12, 20))),  # Maestro
    (6362, 6363, (16,)),  # Elo
    (6370, 6399, (16,)),  # InstaPayment
    (6440, 6599, (16, 17, 18, 19)),  # Discover, RuPay, Troy
    (6759, 6763, tuple(range(12, 20))),  # Maestro
    (8100, 8299, (16, 17, 18, 19)),  # UnionPay, RuPay
    (8600, 8600, (16,)),  # UzCard
    (9792, 9792, (16,)),  # Troy
    (9860, 9860, (16,)),  # Humo
)
_LENGTHS: dict[str, tuple[int, ...]] = {
    f"{prefix:04}": lengths for first, last, lengths in _ISSUED for prefix in range(first, last + 1)
}

#: Ranges searched for at both ends of a longer unbroken number: nearly all cards in use. With all ranges, one
#: long number in ten would match.
_COMMON = re.compile(r"(?:4|5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720|6011|64[4-9]|65)|(3[47])")

#: Hexadecimal ids (UUIDs, our TXN-…, digests) contain long numbers by chance. They are recognized by a
#: letter.
_HEX_ID = re.compile(
    r"(?<![0-9a-fA-F])(?:[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{24}|[0-9a-fA-F]{32}|[0-9a-fA-F]{40}"
    r"|[0-9a-fA-F]{64})(?![0-9a-fA-F])"
)

#: Unbroken numbers made from clocks: yyyymmdd and more, yymmddHHMMSS and four digits, nanoseconds,
#: snowflakes.
_MONTH_AND_DAY = r"(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_CLOCK = re.compile(
    rf"20[0-9]{{2}}{_MONTH_AND_DAY}[0-9]{{9,}}|2[0-9]{_MONTH_AND_DAY}(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){{2}}[0-9]{{4}}"
    r"|1[0-9]{17,18}"
)

#: The groups printed on cards, with up to twelve other characters between them.
_PRINTED = re.compile(
    r"(?=([0-9]{4}[^0-9]{1,12}(?:[0-9]{4}[^0-9]{1,12}[0-9]{4}[^0-9]{1,12}[0-9]{4}|[0-9]{6}[^0-9]{1,12}[0-9]{5})))"
)

_ENOUGH_DIGITS = re.compile(rf"(?:[0-9][^0-9]*){{{MIN_DIGITS}}}")
_ENOUGH_TOGETHER = re.compile(rf"(?:[0-9][^0-9A-Za-z]*){{{MIN_DIGITS}}}")
_GROUP = re.compile(r"[0-9]+")
_ASCII_BREAK = re.compile(r"[A-Za-z]+")
_ESCAPED = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")


class _Run(NamedTuple):
    """Digits with no letter between them.

    Attributes:
        digits: every digit, in ASCII.
        positions: for each digit, its index in the text.
        groups: start and end, in `digits`, of each part without separators.
    """

    digits: str
    positions: Sequence[int]
    groups: Sequence[tuple[int, int]]


def holds_card_number(text: str) -> bool:
    """Return whether `text` contains a card number, also behind URL, HTML, or JSON escapes."""
    if len(text) < MIN_DIGITS:
        return False
    return any(_find(form) for form in _unescaped(text))


def mask_card_numbers(text: str, mask: str = "[card number]") -> str:
    """Replace card numbers in `text`, including their separators, by `mask`.

    If escapes hide a card number, `mask` replaces the whole text.
    """
    if len(text) < MIN_DIGITS:
        return text
    spans = _find(text)
    parts, end = [], 0
    for start, stop in spans:
        parts += [text[end:start], mask]
        end = stop
    masked = "".join((*parts, text[end:])) if spans else text
    return mask if any(_find(form) for form in _unescaped(masked)[1:]) else masked


def _unescaped(text: str) -> list[str]:
    """Yield `text`, then `text` with its escapes decoded."""
    forms = [text]
    if "%" in text or "&" in text or "\\" in text:
        for _ in range(3):
            last = forms[-1]
            decoded = html.unescape(unquote_plus(last, errors="replace"))
            decoded = _ESCAPED.sub(lambda match: chr(int(match[1] or match[2], 16)), decoded)
            if decoded == last:
                break
            forms.append(decoded)
    return forms


def _find(text: str) -> list[tuple[int, int]]:
    """Yield the start and end of each stretch of `text` that is covered by card numbers."""
    positions: Sequence[int]
    if text.isascii():
        plain, positions = text, range(len(text))
    else:
        plain, positions = _plain(text)
    if not _ENOUGH_DIGITS.search(plain):
        return []
    plain = _HEX_ID.sub(_without_hex_id, plain)
    if not _ENOUGH_DIGITS.search(plain):
        return []
    found = {(positions[start], positions[stop - 1] + 1) for start, stop in _windows(plain)}
    return _merged(found)


def _without_hex_id(match: re.Match[str]) -> str:
    return match[0] if match[0].replace("-", "").isdigit() else "x" * len(match[0])


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(stop, merged[-1][1])
        else:
            merged.append((start, stop))
    return merged


@lru_cache(maxsize=4096)
def _plain_character(char: str) -> str:
    """Map a digit of any script to ASCII, a letter to `x`, and anything else to a space."""
    folded = unicodedata.normalize("NFKC", char)
    digits = "".join(
        str(int(value)) if 0 <= (value := unicodedata.numeric(part, -1)) <= 9 and value == int(value) else " "
        for part in folded
    )
    if digits.strip():
        return digits
    return "x" if char.isalpha() else " "


def _plain(text: str) -> tuple[str, list[int]]:
    """Return `text` in ASCII, and the index in `text` of each of its characters."""
    plain: list[str] = []
    positions: list[int] = []
    for position, char in enumerate(text):
        folded = char if char.isascii() else _plain_character(char)
        plain.append(folded)
        positions += [position] * len(folded)
    return "".join(plain), positions


def _windows(plain: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each card number in ASCII text."""
    for match in _PRINTED.finditer(plain):
        if _is_card(re.sub(r"[^0-9]", "", match[1])):
            yield match.span(1)
    for run in _runs(plain) if _ENOUGH_TOGETHER.search(plain) else ():
        candidates = set(_candidates(run))
        luhn = _Luhn(run.digits) if candidates else None
        for start, stop in candidates:
            if luhn and luhn.is_valid(start, stop) and not _is_phone_number(run, start, stop):
                yield run.positions[start], run.positions[stop - 1] + 1


def _is_card(digits: str) -> bool:
    return len(digits) in _LENGTHS.get(digits[:4], ()) and _Luhn(digits).is_valid(0, len(digits))


def _runs(plain: str) -> Iterator[_Run]:
    start = 0
    for stop, after in (*(match.span() for match in _ASCII_BREAK.finditer(plain)), (len(plain), 0)):
        if stop - start >= MIN_DIGITS:
            spans = [match.span() for match in _GROUP.finditer(plain, start, stop)]
            positions = [position for span in spans for position in range(*span)]
            if len(positions) >= MIN_DIGITS:
                ends = list(accumulate(stop - start for start, stop in spans))
                groups = list(zip((0, *ends), ends, strict=False))
                yield _Run("".join(plain[slice(*span)] for span in spans), positions, groups)
        start = after


def _candidates(run: _Run) -> Iterator[tuple[int, int]]:
    """Yield windows that have an issuer's prefix and length."""
    ends = {stop: number for number, (_, stop) in enumerate(run.groups, 1)}
    for number, (start, stop) in enumerate(run.groups):
        if stop - start >= MIN_DIGITS and _CLOCK.fullmatch(run.digits, start, stop):
            continue
        for length in _LENGTHS.get(run.digits[start : start + 4], ()):
            last = ends.get(start + length)
            if last and _is_plausible(length, last - number):
                yield start, start + length
        yield from _at_the_ends(run.digits, start, stop)


def _is_plausible(length: int, groups: int) -> bool:
    """Return whether the grouping is plausible: lists of seats mix groups of one and two digits."""
    return length >= 2 * groups or length == groups


def _at_the_ends(digits: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Yield windows at both ends of an unbroken number that is too long for a card."""
    for size, group in ((16, None), (15, 1)):
        if stop - start > size:
            for first in (start, stop - size):
                match = _COMMON.match(digits, first)
                if match and bool(match[1]) == bool(group):
                    yield first, first + size


class _Luhn:
    """Check digits of all windows of a number, each in constant time from prefix sums.

    ISO/IEC 7812-1, annex B.
    """

    def __init__(self, digits: str) -> None:
        values = [int(digit) for digit in digits]
        doubled = [2 * value - 9 * (value > 4) for value in values]
        even = [
            twice if position % 2 == 0 else value
            for position, (value, twice) in enumerate(zip(values, doubled, strict=True))
        ]
        odd = [
            value if position % 2 == 0 else twice
            for position, (value, twice) in enumerate(zip(values, doubled, strict=True))
        ]
        self._sums = tuple(list(accumulate(each, initial=0)) for each in (even, odd))

    def is_valid(self, start: int, stop: int) -> bool:
        """Return whether the digits from `start` up to `stop` pass the check."""
        # The last digit is not doubled, so the digits with the parity of the one before it are.
        sums = self._sums[stop % 2]
        return (sums[stop] - sums[start]) % 10 == 0


def _is_phone_number(run: _Run, start: int, stop: int) -> bool:
    """Return whether 12 to 15 unbroken digits are a phone number in international form.

    Numbering plans of Germany, Indonesia, and other countries overlap with issuers' ranges.
    """
    first, last = run.positions[start], run.positions[stop - 1]
    if not 12 <= stop - start <= 15 or last - first != stop - start - 1:
        return False
    import phonenumbers  # slow to load, and rarely needed

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(f"+{run.digits[start:stop]}"))
    except phonenumbers.NumberParseException:
        return False
