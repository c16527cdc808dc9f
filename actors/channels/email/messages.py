"""Every sentence that a catalogue translates, and the catalogues brought up to date with them.

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
from app import declines
from app.payments import announcements

_EXTRACTOR = "jinja2.ext:babel_extract"


def messages() -> set[str]:
    """English, as gettext's message ids."""
    return {*_of_templates(), *_of_tables()}


def _of_templates() -> Iterator[str]:
    for file in files("email_templates").iterdir():
        if not file.name.endswith((".mjml", ".txt")):
            continue
        with file.open("rb") as source:
            for _, found, _, _ in extract(_EXTRACTOR, source, options={"silent": "false"}):
                yield from (found,) if isinstance(found, str) else (text for text in found if text)


def _of_tables() -> Iterator[str]:
    for row in wording.FAILURES.values():
        yield from (row.reason, row.advice)
    yield from wording.ADVICE.values()
    yield from wording.PAYMENT_METHODS.values()
    yield from (decline.message for decline in declines.EVERY)
    yield from (view.CARD, view.CARD_END, announcements.REFUND_TIME)


def update(path: Path, language: str) -> None:
    """Write the catalogue anew: translations kept, missing ones left empty, those no longer used dropped."""
    known = read_po(BytesIO(path.read_bytes())) if path.exists() else Catalog()
    catalogue = Catalog(locale=language, project="movieapp", charset="utf-8")
    for message in sorted(messages()):
        before = known.get(message)
        catalogue.add(message, before.string if before else "")
    with path.open("wb") as file:
        write_po(file, catalogue, width=110, omit_header=True)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        update(Path(str(files("email_templates").joinpath("locales", f"{name}.po"))), name)
