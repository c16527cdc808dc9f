"""The languages of mails and SMS: English, and each with a catalog in `email_templates/locales`.

A catalog is gettext's `.po` file, compiled when it is loaded: a new language is one more file. What a catalog
lacks is said in English.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: BCP 47, such as `de`.
        translations: from English.
    """

    code: str
    translations: NullTranslations

    @property
    def direction(self) -> str:
        """The value of HTML's `dir`."""
        return Locale.parse(self.code).text_direction

    def gettext(self, message: str) -> str:
        """Return `message` in this language, or as it is."""
        return self.translations.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """Return the form for `number`, by the plural rules of the language."""
        return self.translations.ngettext(one, many, number)


#: What everything is written in first.
ENGLISH = Language("en", NullTranslations())


class Languages:
    """Every language that there is a catalog for.

    Args:
        catalogs: code → content of a `.po` file; default: those of `email_templates`.
    """

    def __init__(self, catalogs: Mapping[str, bytes] | None = None) -> None:
        self._catalogs = _installed() if catalogs is None else catalogs

    @cached_property
    def all(self) -> dict[str, Language]:
        """By code, English first."""
        read = {code: Language(code, _compiled(code, po)) for code, po in sorted(self._catalogs.items())}
        return {"en": ENGLISH} | read

    def of(self, locale: Locale) -> tuple[Language, Locale]:
        """Return the language for a reader, and the locale of numbers and dates beside it.

        A reader whose language there is no catalog for gets English throughout: dates in one language and
        sentences in another help nobody.
        """
        language = self.all.get(locale.language)
        return (language, locale) if language else (ENGLISH, Locale("en"))


def _installed() -> dict[str, bytes]:
    folder = files("email_templates").joinpath("locales")
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".po")]
    return {name.removesuffix(".po"): folder.joinpath(name).read_bytes() for name in names}


def _compiled(code: str, po: bytes) -> GNUTranslations:
    compiled = BytesIO()
    write_mo(compiled, read_po(BytesIO(po), locale=code))
    compiled.seek(0)
    return GNUTranslations(compiled)
