"""Every template in every language fits a phone and a window, in one browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actors.channels.email.render import TEMPLATES
from actors.channels.email.samples import sample
from app.settings import Settings
from devtools.gallery.preview import Preview, Previewer, languages
from tests.support.mail_browser import too_wide

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WIDTHS = (360, 600)


@pytest.fixture(scope="module")
def previewer() -> Previewer:
    return Previewer(Settings(_env_file=None))


def test_no_template_overflows_in_any_language(browser: Browser, previewer: Previewer) -> None:
    found = []
    with browser.new_context(offline=True) as context:
        page = context.new_page()
        for template in TEMPLATES:
            for language in languages():
                mail = previewer.compose(template, sample(template) | {"locale": language})
                page.set_content(Preview(mail.as_bytes()).html)
                for width in WIDTHS:
                    page.set_viewport_size({"width": width, "height": 800})
                    found += [f"{template}, {language}, {width} px: {fault}" for fault in too_wide(page)]
    assert found == []
