"""Every sentence that a catalog translates, and the catalogs brought up to date with them.

    python -m actors.channels.email.messages de

adds what is missing to email_templates/locales/de.po, empty, and drops what is no longer used.
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
from actors.channels.sms import texts
from app import declines
from app.payments import announcements

_EXTRACTOR = "jinja2.ext:babel_extract"

#: A gettext message id: English, or its singular and plural.
MessageId = str | tuple[str, str]


def messages() -> set[MessageId]:
    """Return all of them."""
    return {*_of_templates(), *_of_tables(), *texts.sentences()}


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
    yield from (view.CARD, view.CARD_END, announcements.REFUND_TIME)


def update(path: Path, language: str) -> None:
    """Write the catalog again: translations kept, missing ones left empty, those no longer used dropped."""
    known = read_po(BytesIO(path.read_bytes() if path.exists() else b""), locale=language)
    catalog = Catalog(locale=language, project="movieapp", charset="utf-8")
    for message in sorted(messages(), key=str):
        plural = isinstance(message, tuple)
        before = known.get(message[0] if plural else message)
        empty: str | tuple[str, ...] = ("",) * catalog.num_plurals if plural else ""
        # A sentence that got a plural is translated anew.
        catalog.add(message, before.string if before and before.pluralizable == plural else empty)
    with path.open("wb") as file:
        write_po(file, catalog, width=110, omit_header=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        update(Path(str(files("email_templates").joinpath("locales", f"{name}.po"))), name)
