"""Collect the sentences to translate, and update the catalogs.

    python -m actors.channels.email.messages de

adds missing sentences to email_templates/locales/de.po, and removes unused ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from babel.messages import Catalog
from babel.messages.extract import extract
from babel.messages.pofile import read_po, write_po

from actors.channels.email import view, wording
from actors.channels.email.wallet.labels import LABELS
from actors.channels.sms import texts
from app import declines
from app.api import payment_page

#: Header for gettext tools and catalog editors, without dates, which would change with each run.
_HEADER = """\
msgid ""
msgstr ""
"Language: {language}\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: {plurals}\\n"

"""

_EXTRACTOR = "jinja2.ext:babel_extract"

#: A gettext message id: English, or its singular and plural.
MessageId = str | tuple[str, str]


def messages() -> set[MessageId]:
    """Return all sentences to translate."""
    return {
        *_of_templates(),
        *_of_tables(),
        view.BUSINESS_DAYS,
        *texts.sentences(),
        *payment_page.sentences(),
    }


def _of_templates() -> Iterator[MessageId]:
    for file in files("email_templates").iterdir():
        if not file.name.endswith((".mjml", ".txt")):
            continue
        with file.open("rb") as source:
            for _, found, _, _ in extract(_EXTRACTOR, source, options={"silent": "false"}):
                yield found if isinstance(found, str) else (found[0], found[1])


def _of_tables() -> Iterator[str]:
    for row in wording.FAILURES.values():
        yield from (row.reason, row.advice)
    yield from wording.ADVICE.values()
    yield from wording.PAYMENT_METHODS.values()
    yield from (decline.message for decline in declines.EVERY)
    yield from LABELS
    yield from (view.CARD, view.CARD_END)


def update(path: Path, language: str) -> None:
    """Rewrite a catalog: keep translations, add missing sentences without one, and remove unused ones."""
    known = read_po(BytesIO(path.read_bytes() if path.exists() else b""), locale=language)
    catalog = Catalog(locale=language, project="movieapp", charset="utf-8")
    for message in sorted(messages(), key=str):
        plural = isinstance(message, tuple)
        before = known.get(message[0] if plural else message)
        empty: str | tuple[str, ...] = ("",) * catalog.num_plurals if plural else ""
        # A sentence that got a plural must be translated again.
        catalog.add(message, before.string if before and before.pluralizable == plural else empty)
    with path.open("wb") as file:
        file.write(_HEADER.format(language=language, plurals=catalog.plural_forms).encode())
        write_po(file, catalog, width=110, omit_header=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        update(Path(str(files("email_templates").joinpath("locales", f"{name}.po"))), name)
