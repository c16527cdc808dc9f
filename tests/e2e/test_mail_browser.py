"""Every mail in a real browser: narrow and wide, light and dark, with and without images."""

from __future__ import annotations

import itertools
import re
import shutil
import struct
import sys
import threading
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.serving import make_server

import email_templates
from actors.channels.email.render import TEMPLATES
from actors.channels.email.samples import sample
from app.languages import without_isolates
from app.settings import Settings
from devtools.gallery.live import LiveGallery
from devtools.gallery.preview import Preview, Previewer
from devtools.gallery.site import Exhibit, exhibits
from tests.support.commands import movieapp
from tests.support.mail_browser import too_wide, violations
from tests.support.ports import free_port

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

WIDTHS = (320, 600, 900)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
HEIGHT = 800

Mode = tuple[str, int]

#: Color schemes and widths of all layouts: the third width has the same layout as the second.
MODES: list[Mode] = list(itertools.product(SCHEMES, WIDTHS[:2]))

#: Separators of facts in a text: white space, punctuation, and Chinese and Japanese characters.
_BETWEEN_FACTS = re.compile(r"[\s,،;:.()\u3000-\u9fff\uff00-\uffef]+")


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that can load nothing external."""
    with browser.new_context(offline=True) as context:
        context.route(re.compile("^http"), lambda route: route.abort())
        yield context.new_page()


@pytest.fixture(scope="module")
def previewer() -> Previewer:
    return Previewer(Settings(_env_file=None))


def of(template: str) -> list[Exhibit]:
    return [exhibit for exhibit in exhibits() if exhibit.template == template]


def event_of(exhibit: Exhibit) -> dict[str, object]:
    return sample(exhibit.template, exhibit.variant) | {"locale": exhibit.language}


def faults(page: Page, modes: Container[Mode] = MODES) -> Iterator[str]:
    """Return the faults of the mail in `page`, at each width, in light and dark mode.

    Args:
        page: shows the mail.
        modes: where accessibility is checked too. A check takes a hundred times as long as that of the width.
    """
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            yield from (f"{scheme}, {width} px: {fault}" for fault in too_wide(page))
            if (scheme, width) in modes:
                yield from (f"{scheme}, {width} px: {fault}" for fault in violations(page))


def modes_of(position: int, exhibit: Exhibit) -> Sequence[Mode]:
    """Return where the accessibility of an exhibit is checked.

    English everywhere, and each other language in one mode in turn: all have the same markup and colors.
    """
    return MODES if exhibit.language == "en" else [MODES[position % len(MODES)]]


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_mail_fits_every_width_and_is_accessible(
    page: Page, previewer: Previewer, template: str
) -> None:
    found = []
    for position, exhibit in enumerate(of(template)):
        page.set_content(Preview(previewer.compose(template, event_of(exhibit)).as_bytes()).html)
        found += [f"{exhibit.name}: {fault}" for fault in faults(page, modes_of(position, exhibit))]
    assert found == []


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_mail_is_complete_without_images_and_loads_only_the_poster(
    page: Page, previewer: Previewer, template: str
) -> None:
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    for exhibit in of(template):
        event = event_of(exhibit)
        mail = previewer.compose(template, event)
        requested.clear()
        page.set_content(mail.html)
        assert {url for url in requested if url.startswith("http")} <= {event.get("poster_url")}
        assert page.evaluate("[...document.images].filter(image => image.naturalWidth).length") == 0
        seen = without_isolates(page.inner_text("body"))
        # Ids, amounts, and dates: every word with a digit in the text part, except links.
        output = {
            word
            for word in _BETWEEN_FACTS.split(re.sub(r"https?://\S+", " ", without_isolates(mail.body)))
            if re.search(r"\d", word)
        }
        assert {word for word in output if word not in seen} == set(), exhibit.name
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": HEIGHT})
            assert too_wide(page) == [], f"{exhibit.name}, {width} px"


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        ("<p style='width:700px'>wide", "320 px: the page scrolls sideways"),
        ("<p style='overflow:hidden'><b style='display:inline-block;width:700px'>cut", "600 px: b."),
        ("<p style='color:#999;background:#fff'>pale", "light, 600 px: color-contrast"),
        (
            "<style>@media (prefers-color-scheme: dark) {p {color: #333; background: #000}}</style><p>dim",
            "dark, 600 px: color-contrast",
        ),
        ("<img src='x.png'>", "light, 320 px: image-alt"),
    ],
)
def test_each_layout_fault_is_detected(page: Page, html: str, fault: str) -> None:
    page.set_content(f"<!doctype html><html lang='en'><title>Mail</title><body><h1>Mail</h1>{html}")
    assert any(fault in found for found in faults(page))


def test_the_gallery_is_readable_and_its_screenshots_match_their_labels(
    browser: Browser, settings: Settings, tmp_path: Path
) -> None:
    done = movieapp(settings, "templates", "gallery", "--screenshots", "--output", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    shots = tmp_path / "screenshots"
    light, dark, phone = (
        (shots / f"payment_success.full.en.{mode}.png").read_bytes() for mode in ("light", "dark", "phone")
    )
    assert [struct.unpack(">I", png[16:20])[0] for png in (light, dark, phone)] == [640, 640, 375]
    assert light != dark
    shown = re.findall(r"\]\((screenshots/[^)]+)\)", (tmp_path / "README.md").read_text())
    assert len(shown) == 3 * len(TEMPLATES)
    assert all((tmp_path / shot).exists() for shot in shown)
    for scheme in SCHEMES:
        with browser.new_context(color_scheme=scheme, offline=True) as context:
            page = context.new_page()
            for name in ("index", "payment_success.hostile.en", "booking_confirmation.full.en"):
                page.goto((tmp_path / f"{name}.html").as_uri())
                assert violations(page, whole_page=True) == []
                assert page.evaluate(
                    "[...document.images].every(image => image.loading || image.naturalWidth)"
                )
                for width in (320, 1300):
                    page.set_viewport_size({"width": width, "height": HEIGHT})
                    assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")


def test_the_dev_gallery_reloads_an_edited_template(
    browser: Browser, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edited = tmp_path / "email_templates"
    shutil.copytree(Path(email_templates.__file__).parent, edited)
    monkeypatch.delitem(sys.modules, "email_templates")
    monkeypatch.syspath_prepend(tmp_path)
    gallery = DispatcherMiddleware(lambda *_: [], {"/dev/templates": LiveGallery(settings)})
    server = make_server("127.0.0.1", free_port(), gallery, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        with browser.new_context() as context:
            page = context.new_page()
            page.goto(f"http://127.0.0.1:{server.port}/dev/templates")
            page.click("a[href='payment_success.full.en.html']")
            mail = page.frame_locator("iframe").locator("body")
            mail.filter(has_text="TXN-456789").wait_for(timeout=60_000)
            file = edited / "samples" / "payment_success.full.json"
            file.write_text(file.read_text().replace("TXN-456789", "TXN-EDITED"))
            mail.filter(has_text="TXN-EDITED").wait_for(timeout=60_000)
            template = edited / "payment_success.mjml"
            good = template.read_text()
            template.write_text(good + "{% nonsense %}")
            page.get_by_text("payment_success.mjml, line").wait_for(timeout=60_000)
            template.write_text(good)
            mail.filter(has_text="TXN-EDITED").wait_for(timeout=60_000)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
