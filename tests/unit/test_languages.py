"""The catalogs, and which one a reader gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import pytest
from babel import Locale
from babel.messages import Catalog
from babel.messages.pofile import read_po

from actors.channels.email.messages import messages, update
from app.languages import Languages, known_locale, without_isolates

FOLDER = files("email_templates").joinpath("locales")
NAMES = sorted(file.name.removesuffix(".po") for file in FOLDER.iterdir() if file.name.endswith(".po"))
every_catalog = pytest.mark.parametrize("name", NAMES)

#: Languages in a non-Latin script.
OTHER_LETTERS = {"ar": r"[\u0600-\u06ff]", "ja": r"[\u3040-\u30ff\u4e00-\u9fff]"}

#: Names that are the same in every language.
NAMES_OF_FIRMS = {"PayPal", "Stripe"}


def catalog(name: str) -> Catalog:
    return read_po(BytesIO(FOLDER.joinpath(f"{name}.po").read_bytes()), locale=name)


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"%\(\w+\)s|\{\w+\}", text))


@dataclass(frozen=True)
class Entry:
    """A message of a catalog; `one` and `many` are the same for one without a plural."""

    one: str
    many: str
    forms: tuple[str, ...]
    fuzzy: bool

    @property
    def plural(self) -> bool:
        return self.one != self.many


def entries(read: Catalog) -> list[Entry]:
    found = []
    for message in read:
        if message.id:
            ids = (message.id,) if isinstance(message.id, str) else tuple(message.id)
            given = (message.string,) if isinstance(message.string, str) else tuple(message.string or ())
            found.append(Entry(ids[0], ids[-1], tuple(map(str, given)), message.fuzzy))
    return found


@every_catalog
def test_a_catalog_translates_every_message_and_nothing_else(name: str) -> None:
    read = catalog(name)
    found = entries(read)
    assert {(entry.one, entry.many) if entry.plural else entry.one for entry in found} == messages()
    assert not read.obsolete
    for entry in found:
        assert not entry.fuzzy, entry.one
        assert len(entry.forms) == (read.num_plurals if entry.plural else 1), entry.one
        assert all(entry.forms), entry.one


@every_catalog
def test_placeholders_agree_in_every_form(name: str) -> None:
    for entry in entries(catalog(name)):
        for form in entry.forms:
            # A singular form may spell out the number.
            assert placeholders(entry.one) <= placeholders(form) <= placeholders(entry.many), entry.one
            # A stray percent sign would fail when the message is formatted.
            assert not re.search(r"%(?!\(\w+\)s)", form), entry.one
        # The last form is the general one.
        assert placeholders(entry.forms[-1]) == placeholders(entry.many), entry.one


@every_catalog
def test_a_translation_ends_like_its_message(name: str) -> None:
    for entry in entries(catalog(name)):
        for form in entry.forms:
            assert form[-1] in ".!?\u3002\uff01\uff1f\u061f}" or entry.one[-1] != ".", entry.one
            assert form == form.strip() or entry.one == ", ", entry.one


@every_catalog
def test_sentences_use_the_script_of_the_language(name: str) -> None:
    letters = OTHER_LETTERS.get(name, r"[A-Za-z]")
    for entry in entries(catalog(name)):
        for form in entry.forms:
            words = re.sub(r"%\(\w+\)s|\{\w+\}", "", form)
            if re.search(r"\w", words) and entry.one not in NAMES_OF_FIRMS:
                assert re.search(letters, words), entry.one


@every_catalog
def test_updating_a_current_catalog_changes_nothing(tmp_path: Path, name: str) -> None:
    committed = FOLDER.joinpath(f"{name}.po").read_bytes()
    copy = tmp_path / f"{name}.po"
    copy.write_bytes(committed)
    update(copy, name)
    assert copy.read_bytes() == committed


def test_a_new_catalog_has_every_message_to_translate(tmp_path: Path) -> None:
    update(tmp_path / "nl.po", "nl")
    written = (tmp_path / "nl.po").read_text()
    # The additional one is the header.
    assert written.count('\nmsgstr ""') + written.count('\nmsgstr[0] ""') == len(messages()) + 1
    assert "nplurals=2; plural=(n != 1);" in written


@pytest.mark.parametrize(
    ("name", "forms"),
    [
        ("de", {1: 0, 0: 1, 2: 1, 5: 1}),
        ("fr", {0: 0, 1: 0, 2: 2, 1_000_000: 1}),
        ("pl", {1: 0, 2: 1, 4: 1, 5: 2, 12: 2, 22: 1, 112: 2}),
        ("ar", {0: 0, 1: 1, 2: 2, 3: 3, 10: 3, 11: 4, 99: 4, 100: 5, 103: 3}),
        ("ja", {0: 0, 1: 0, 2: 0}),
    ],
)
def test_each_number_has_the_plural_form_of_the_language(
    tmp_path: Path, name: str, forms: dict[int, int]
) -> None:
    path = tmp_path / f"{name}.po"
    update(path, name)
    written = path.read_text()
    count = written.split("msgid_plural", 1)[1].split("\n\n")[0].count("msgstr[")
    start = written.index('msgid "Seat"')
    head, rest = written[:start], written[start:]
    for form in range(count):
        rest = rest.replace(f'msgstr[{form}] ""', f'msgstr[{form}] "form {form}"', 1)
    language = Languages({name: (head + rest).encode()}).all[name]
    assert {number: language.ngettext("Seat", "Seats", number) for number in forms} == {
        number: f"form {form}" for number, form in forms.items()
    }


@pytest.mark.parametrize(
    ("tag", "known"),
    [
        ("de", "de"),
        ("de-AT", "de_AT"),
        ("DE-at", "de_AT"),
        ("de_DE.UTF-8", "de_DE"),
        ("de_DE@euro", "de_DE"),
        ("de-XX", "de"),
        ("C", "en_US_POSIX"),
        ("es-419", "es_419"),
        ("ar-EG-u-nu-latn", "ar_EG"),
        ("zh-Hant-TW", "zh_Hant_TW"),
        (" pt-BR ", "pt_BR"),
        ("ja-JP-x-lvariant-JP", "ja_JP"),
    ],
)
def test_a_locale_is_recognized_by_its_aliases(tag: str, known: str) -> None:
    assert known_locale(tag) == Locale.parse(known)


@pytest.mark.parametrize("tag", ["", "*", "xx", "../../etc/passwd", "-", "_.@", "\0", "a" * 10_000])
def test_an_invalid_locale_is_unknown(tag: str) -> None:
    assert known_locale(tag) is None


EMPTY = dict.fromkeys(("de", "es", "pt_BR"), b"")


@pytest.mark.parametrize(
    ("tag", "language", "locale"),
    [
        ("es-MX", "es", "es_MX"),
        ("pt", "pt-BR", "pt"),
        ("pt_PT", "pt-BR", "pt_PT"),
        ("pt-BR", "pt-BR", "pt_BR"),
        ("en-GB", "en", "en_GB"),
        ("zh", "en", "en"),
    ],
)
def test_a_reader_gets_the_nearest_catalog_and_the_formats_of_the_region(
    tag: str, language: str, locale: str
) -> None:
    known = known_locale(tag)
    assert known
    found, formats = Languages(EMPTY).of(known)
    assert (found.code, formats) == (language, Locale.parse(locale))


@pytest.mark.parametrize(
    ("tags", "language"),
    [
        (["", "de"], "de"),
        (["zh", "pt", "de"], "pt-BR"),
        (["en-US", "de"], "en"),
        (["zh", "*"], "en"),
        ([], "en"),
    ],
)
def test_the_most_preferred_available_language_is_chosen(tags: list[str], language: str) -> None:
    assert Languages(EMPTY).first_of(tags).code == language


def test_values_are_isolated_only_in_right_to_left_sentences() -> None:
    po = b'msgid "Seat %(seat)s"\nmsgstr "X %(seat)s"\n\nmsgid "Codes: {codes}."\nmsgstr "Y {codes}"\n'
    languages = Languages({"ar": po, "de": po}).all
    assert languages["ar"].gettext("Seat %(seat)s") == "X \u2068%(seat)s\u2069"
    assert languages["ar"].gettext("Codes: {codes}.") == "Y {codes}"
    assert languages["de"].gettext("Seat %(seat)s") == "X %(seat)s"
    assert without_isolates("X \u2068C7\u2069") == "X C7"
