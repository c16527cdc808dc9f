"""Check a page in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from axe_playwright_python.base import AXE_SCRIPT

if TYPE_CHECKING:
    from playwright.sync_api import Page

# A mail is shown inside the page of the mail program, which provides the landmarks.
_OF_WHOLE_PAGES = ("region", "landmark-one-main")

_RUN_AXE = """options => axe.run(document, options).then(found => found.violations.map(rule =>
    `${rule.id}: ${rule.help}: ${rule.nodes.map(node => node.html.slice(0, 120)).join(" | ")}`))"""

_TOO_WIDE = """() => {
    const room = document.documentElement.clientWidth + 0.5;
    const wide = [...document.body.querySelectorAll("*")].filter(element => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && box.height > 0 && (box.right > room || box.left < -0.5);
    });
    const found = wide.map(element => `${element.localName}.${element.className}`);
    const scrolls = document.documentElement.scrollWidth > room;
    return scrolls ? ["the page scrolls sideways", ...found] : found;
}"""


def violations(page: Page, *, whole_page: bool = False) -> list[str]:
    """Return the axe-core rules that `page` breaks, each with its elements."""
    rules = {} if whole_page else {rule: {"enabled": False} for rule in _OF_WHOLE_PAGES}
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    found: list[str] = page.evaluate(_RUN_AXE, {"resultTypes": ["violations"], "rules": rules})
    return found


def too_wide(page: Page) -> list[Any]:
    """Return the elements of `page` that overflow its window horizontally."""
    found: list[Any] = page.evaluate(_TOO_WIDE)
    return found
