"""Check every link and anchor of the built site: `python -m devtools.site.check build/site`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class _Page(HTMLParser):
    """The anchors and links of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.links.append(value)


def dead_links(site: Path) -> Iterator[str]:
    """Yield a line for each link within the site that leads nowhere.

    Args:
        site: the directory of the built site.
    """
    pages = {path: _Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links are absolute, for wherever the site is served
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if target.is_dir():
                target /= "index.html"
            if not target.exists():
                yield f"{path.relative_to(site)}: {link}: no such file"
            elif parts.fragment and target.suffix == ".html":
                there = pages.get(site / target.relative_to(site.resolve()))
                if there and unquote(parts.fragment) not in there.anchors:
                    yield f"{path.relative_to(site)}: {link}: no such anchor"


def main() -> int:
    """Print the dead links. Return 1 if there are any."""
    found = list(dead_links(Path(sys.argv[1])))
    print("\n".join(found) or "every link and anchor of the site leads somewhere")  # noqa: T201
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
