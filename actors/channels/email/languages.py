"""The languages that mails are written in: English, and each with a catalogue in `email_templates/locales`.

A catalogue is gettext's `.po` file, read as it is: a new language is one more file. What a catalogue lacks is
said in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from io import BytesIO

from babel import Locale
from babel.messages.pofile import read_po

#: Languages written from right to left (CLDR, characterOrder).
_RIGHT_TO_LEFT = frozenset({"ar", "dv", "fa", "he", "ku", "ps", "sd", "ug", "ur", "yi"})


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: BCP 47, as `de`.
        messages: English → this language; empty for English.
    """

    code: str
    messages: Mapping[str, str]

    @property
    def direction(self) -> str:
        """As HTML's `dir`."""
        return "rtl" if self.code in _RIGHT_TO_LEFT else "ltr"

    def gettext(self, message: str) -> str:
        """`message` in this language, else as it is."""
        return self.messages.get(message) or message

    def ngettext(self, one: str, many: str, number: int) -> str:
        """The form for `number`. One and many are two messages: no language here has more forms yet."""
        return self.gettext(one if number == 1 else many)


#: What everything is written in first.
ENGLISH = Language("en", {})


class Languages:
    """Every language there is a catalogue for.

    Args:
        catalogues: code → text of a `.po` file; default: those of `email_templates`.
    """

    def __init__(self, catalogues: Mapping[str, bytes] | None = None) -> None:
        self._catalogues = _installed() if catalogues is None else catalogues

    @cached_property
    def all(self) -> dict[str, Language]:
        """By code, English first."""
        read = {code: Language(code, _messages(text)) for code, text in sorted(self._catalogues.items())}
        return {"en": ENGLISH} | read

    def of(self, locale: Locale) -> tuple[Language, Locale]:
        """The language for a reader, and the locale of numbers and dates beside it.

        A reader whose language there is no catalogue for gets English throughout: dates in one language and
        sentences in another help nobody.
        """
        language = self.all.get(locale.language)
        return (language, locale) if language else (ENGLISH, Locale("en"))


def _installed() -> dict[str, bytes]:
    folder = files("email_templates").joinpath("locales")
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".po")]
    return {name.removesuffix(".po"): folder.joinpath(name).read_bytes() for name in names}


def _messages(text: bytes) -> dict[str, str]:
    catalogue = read_po(BytesIO(text))
    return {
        str(message.id): str(message.string)
        for message in catalogue
        if message.id and message.string and not message.fuzzy
    }
