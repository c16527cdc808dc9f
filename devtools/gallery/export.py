"""Write the gallery as files, for a web server or a browser."""

from __future__ import annotations

import hashlib
import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from devtools.gallery.browser import chromium
from devtools.gallery.site import MODES, Site, exhibits, modes, screenshot

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from app.settings import Settings

#: Files that `export` writes and may delete.
_GALLERY_FILES = ("*.html", "style.css", "README.md", "screenshots/*.png", "screenshots/sources.json")

#: Files that mark a folder as a gallery, because they name the command.
_MARKS = ("index.html", "README.md")

#: Screenshot → SHA-256 of the HTML it shows. Screenshots differ between machines; their sources do not.
SOURCES = "screenshots/sources.json"


class ForeignFolder(Exception):
    """The folder contains something other than a gallery."""


def export(settings: Settings, folder: Path, *, screenshots: bool) -> int:
    """Write the gallery into `folder`, replacing an existing one. Return the number of files.

    Raises:
        ForeignFolder: the folder contains something else.
        NoBrowser: screenshots are requested, and no browser is installed.
        RenderError: a sample does not fit its template.
    """
    _refuse_a_foreign(folder)
    with chromium() if screenshots else nullcontext() as browser:
        site = Site(settings, screenshots=screenshots)
        pages = {path: site.content(path) for path in site.paths()}
        # Delete files only after every step that can fail.
        _empty(folder)
        for path, content in pages.items():
            (folder / path).write_text(content, "utf-8")
        if browser is None:
            return len(pages)
        taken = _take_screenshots(browser, folder)
        (folder / SOURCES).write_text(json.dumps(sources(site), indent=2) + "\n", "utf-8")
        return len(pages) + taken + 1


def sources(site: Site) -> dict[str, str]:
    """Return the files of `SOURCES` for the mails of `site`."""
    return {
        screenshot(exhibit, mode): hashlib.sha256(
            site.content(f"{exhibit.name}.mail.html").encode()
        ).hexdigest()
        for exhibit in exhibits()
        for mode in modes(exhibit)
    }


def _refuse_a_foreign(folder: Path) -> None:
    marks = (folder / mark for mark in _MARKS)
    ours = any(mark.is_file() and "movieapp templates gallery" in mark.read_text("utf-8") for mark in marks)
    if folder.exists() and any(folder.iterdir()) and not ours:
        raise ForeignFolder(f"{folder} is not empty and contains no gallery. Choose another directory.")


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in _GALLERY_FILES:
        for path in folder.glob(pattern):
            path.unlink()


def _take_screenshots(browser: Browser, folder: Path) -> int:
    """Take every screenshot, each of the whole mail. Return how many there are."""
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
