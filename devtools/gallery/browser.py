"""The system's Chromium, headless."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

#: No background requests: no updates, lists, or experiments. As root, Chromium can't use its sandbox.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # Text is rendered the same on every machine.
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
)


class NoBrowser(Exception):
    """Chromium or playwright is not installed. The message says how to install it."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start a headless Chromium.

    Raises:
        NoBrowser: Chromium or Playwright is missing.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise NoBrowser("Playwright is not installed. Run: pip install 'movieapp[browser]'") from None
    executable = next(filter(None, map(shutil.which, _NAMES)), None)
    if executable is None:
        raise NoBrowser("Chromium is not installed. On Debian, run: apt-get install chromium")
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=executable, args=_FLAGS) as browser,
    ):
        yield browser
