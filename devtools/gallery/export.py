"""The gallery as files: a folder that any web server, or a browser by itself, can show."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.gallery.browser import chromium
from devtools.gallery.site import MODES, Site, exhibits, modes, screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from app.settings import Settings

#: What `export` writes, and so may delete.
_OURS = ("*.html", "style.css", "README.md", "screenshots/*.png")


class ForeignFolder(Exception):
    """A folder that holds something else than a gallery."""


def export(settings: Settings, folder: Path, *, screenshots: bool) -> int:
    """Write the gallery into `folder`, in place of one that is there. Returns how many files it has.

    Raises:
        ForeignFolder: there is something else in it.
        NoBrowser: screenshots are wanted, and nothing here can take them.
        RenderError: a sample does not fit its template.
    """
    site = Site(settings, screenshots=screenshots)
    pages = {path: site.content(path) for path in site.paths()}
    # Nothing is deleted before all that can fail has been done.
    with chromium() if screenshots else nullcontext() as browser:
        _empty(folder)
        for path, content in pages.items():
            (folder / path).write_text(content, "utf-8")
        return len(pages) + (_photograph(browser, folder) if browser else 0)


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index = folder / "index.html"
    if any(folder.iterdir()) and not (
        index.is_file() and "movieapp templates gallery" in index.read_text("utf-8")
    ):
        raise ForeignFolder(f"{folder} is not empty and holds no gallery")
    for pattern in _OURS:
        for path in folder.glob(pattern):
            path.unlink()


def _photograph(browser: Browser, folder: Path) -> int:
    """Take every screenshot, of the whole mail however long. Returns how many."""
    (folder / "screenshots").mkdir(exist_ok=True)
    taken = 0
    for mode in MODES:
        with browser.new_context(
            viewport={"width": mode.width, "height": 600}, color_scheme=mode.scheme, offline=True
        ) as context:
            page = context.new_page()
            for exhibit in (exhibit for exhibit in exhibits() if mode in modes(exhibit)):
                page.goto((folder / f"{exhibit.name}.mail.html").absolute().as_uri())
                page.screenshot(path=folder / screenshot(exhibit, mode), full_page=True)
                taken += 1
    return taken
