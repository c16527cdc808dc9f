"""The languages of messages to customers: English, and one for each catalog in `email_templates/locales`.

A catalog is a gettext `.po` file, compiled when it is loaded. To add a language, add a file. Missing
translations fall back to English.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from gettext import GNUTranslations, NullTranslations
from importlib.resources import files
from io import BytesIO

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

#: Maximum characters of a locale's name that are read.
_MAX_TAG_LENGTH = 35

_PLACEHOLDER = re.compile(r"%\(\w+\)s")

#: U+2068 and U+2069 (Unicode TR 9, 2.4): text between them has its own direction. Without
#: them, a Latin title that ends in a full stop or a bracket is shown in the wrong order in an Arabic
#: sentence.
_ISOLATED = "\u2068%s\u2069"
_ISOLATES = dict.fromkeys(map(ord, "\u2068\u2069"))


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: BCP 47, such as `de` or `pt-BR`.
        translations: from English.
    """

    code: str
    translations: NullTranslations

    @property
    def direction(self) -> str:
        """Return the value of HTML's `dir` attribute."""
        return Locale.parse(self.code, sep="-").text_direction

    @property
    def comma(self) -> str:
        """Return the separator of list items."""
        return self.gettext(", ")

    @property
    def gap(self) -> str:
        """Return the separator of sentences, which is empty if full stops are ideographic."""
        return "" if self.gettext("{start}.").endswith("\u3002") else " "

    def gettext(self, message: str) -> str:
        """Return the translation of `message`, or `message` itself."""
        return self.translations.gettext(message)

    def ngettext(self, one: str, many: str, number: int) -> str:
        """Return the form for `number`, by the plural rules of the language."""
        return self.translations.ngettext(one, many, number)


#: The language of the source messages.
ENGLISH = Language("en", NullTranslations())


class Languages:
    """The languages that have a catalog.

    Args:
        catalogs: name of a locale, such as `pt_BR` → content of its `.po` file; default: those of
            `email_templates`.
    """

    def __init__(self, catalogs: Mapping[str, bytes] | None = None) -> None:
        self._catalogs = _installed() if catalogs is None else catalogs

    @cached_property
    def all(self) -> dict[str, Language]:
        """Return all languages by code, English first."""
        read = (Language(name.replace("_", "-"), _compiled(name, po)) for name, po in self._catalogs.items())
        return {"en": ENGLISH} | {language.code: language for language in sorted(read, key=_code)}

    def of(self, locale: Locale) -> tuple[Language, Locale]:
        """Return the language for a reader, and the locale for its numbers and dates.

        Without a catalog for the reader's language, both are English: dates and sentences never mix
        languages.
        """
        language = self._find(locale)
        return (language, locale) if language else (ENGLISH, Locale("en"))

    def first_of(self, tags: Iterable[str]) -> Language:
        """Return the first language of `tags` that has a catalog, else English.

        Args:
            tags: locale names, most preferred first, such as from an Accept-Language header.
        """
        locales = (locale for tag in tags if (locale := known_locale(tag)))
        return next((language for locale in locales if (language := self._find(locale))), ENGLISH)

    def _find(self, locale: Locale) -> Language | None:
        exact = self.all.get(f"{locale.language}-{locale.territory}") or self.all.get(locale.language)
        # Readers from Portugal prefer Brazil's Portuguese to English.
        related = (language for code, language in self.all.items() if code.split("-")[0] == locale.language)
        return exact or next(related, None)


@lru_cache(maxsize=256)
def known_locale(tag: str) -> Locale | None:
    """Return the closest CLDR locale for `tag`; None if CLDR lacks the language.

    Subtags are dropped from the end until a locale is known (RFC 4647, 3.4).

    Args:
        tag: as in BCP 47 (`de-AT`, `zh-Hant-TW`, `ar-EG-u-nu-latn`) or in POSIX (`de_AT.UTF-8`,
            `de_DE@euro`).
    """
    subtags = re.split("[-_]", re.split("[.@]", tag[:_MAX_TAG_LENGTH].strip())[0])
    for count in range(len(subtags), 0, -1):
        try:
            return Locale.parse("_".join(subtags[:count]))
        except (ValueError, UnknownLocaleError):
            continue
    return None


def without_isolates(text: str) -> str:
    """Return `text` without Unicode isolates, for subjects: filters treat isolates there as suspicious."""
    return text.translate(_ISOLATES)


def _code(language: Language) -> str:
    return language.code


def _installed() -> dict[str, bytes]:
    folder = files("email_templates").joinpath("locales")
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".po")]
    return {name.removesuffix(".po"): folder.joinpath(name).read_bytes() for name in names}


# Cached, because several parts of a process read the same catalogs, and each takes 5 ms.
@lru_cache(maxsize=64)
def _compiled(name: str, po: bytes) -> GNUTranslations:
    catalog = read_po(BytesIO(po), locale=name)
    if Locale.parse(name).text_direction == "rtl":
        _isolate_values(catalog)
    compiled = BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return GNUTranslations(compiled)


def _isolate_values(catalog: Catalog) -> None:
    """Add Unicode isolates around values in sentences of mails. SMS omit them, because every character
    counts."""
    for message in catalog:
        if message.id:
            forms = message.string if isinstance(message.string, list | tuple) else (message.string,)
            isolated = tuple(_isolated(map(str, forms)))
            message.string = isolated if message.pluralizable else isolated[0]


def _isolated(forms: Iterable[str]) -> Iterator[str]:
    for form in forms:
        yield _PLACEHOLDER.sub(lambda found: _ISOLATED % found[0], form)
