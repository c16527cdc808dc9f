"""The pages of the gallery: an index, and for each mail a page with its HTML part in a frame.

`movieapp templates gallery` writes them to files; `movieapp dev` serves the same pages while templates are
edited.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from actors.channels.email.render import TEMPLATES
from actors.channels.email.samples import sample, variants
from app.events.catalog import DELIVERED
from devtools.gallery.preview import Preview, Previewer, languages

if TYPE_CHECKING:
    from app.settings import Settings


@dataclass(frozen=True)
class Exhibit:
    """One mail of the gallery."""

    template: str
    variant: str
    language: str

    @property
    def name(self) -> str:
        """Return the prefix of its files' names."""
        return f"{self.template}.{self.variant}.{self.language}"


@dataclass(frozen=True)
class Mode:
    """How a screenshot is taken.

    Attributes:
        name: the end of the file's name.
        width: CSS pixels.
        scheme: the color scheme.
    """

    name: str
    width: int
    scheme: Literal["light", "dark"]


MODES = (Mode("light", 640, "light"), Mode("dark", 640, "dark"), Mode("phone", 375, "light"))


def exhibits() -> list[Exhibit]:
    """Return every template with every sample in every language."""
    spoken = languages()
    return [
        Exhibit(template, variant, language)
        for template in TEMPLATES
        for variant in variants(template)
        for language in spoken
    ]


def modes(exhibit: Exhibit) -> tuple[Mode, ...]:
    """Return the modes of its screenshots: all for the full sample in English, none for the others."""
    return MODES if (exhibit.variant, exhibit.language) == ("full", "en") else ()


def screenshot(exhibit: Exhibit, mode: Mode) -> str:
    """Return the path of a screenshot in the site."""
    return f"screenshots/{exhibit.name}.{mode.name}.png"


_PAGES = Environment(
    loader=PackageLoader("devtools.gallery", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals["screenshot"] = screenshot


def error_page(message: str, version: str) -> str:
    """Return the page shown instead of one that fails to render, until the templates change."""
    return _PAGES.get_template("error.html").render(message=message, version=version)


class Site:
    """The gallery, with the brand of `settings`.

    Args:
        settings: the sender and the brand.
        screenshots: whether the gallery has screenshots.
        version: version of the templates, which pages poll to reload. None for static pages.
    """

    def __init__(self, settings: Settings, *, screenshots: bool = False, version: str | None = None) -> None:
        self._previewer = Previewer(settings)
        # A mail has two pages, which are rendered one after the other.
        self._preview = lru_cache(maxsize=1)(self._compose)
        self._shown = {"version": version, "modes": modes if screenshots else lambda _: ()}
        self._makers: dict[str, Callable[[], str]] = {
            "index.html": partial(self._overview, "index.html"),
            "style.css": _style,
        }
        if screenshots:
            # The page that GitHub shows for the folder.
            self._makers["README.md"] = partial(self._overview, "README.md")
        self._exhibits: dict[str, list[Exhibit]] = {template: [] for template in TEMPLATES}
        for exhibit in exhibits():
            self._exhibits[exhibit.template].append(exhibit)
            self._makers[f"{exhibit.name}.html"] = partial(self._page, exhibit)
            self._makers[f"{exhibit.name}.mail.html"] = partial(self._mail, exhibit)

    def paths(self) -> list[str]:
        """Return the paths of the site's text files."""
        return list(self._makers)

    def content(self, path: str) -> str:
        """Render the file at `path`.

        Raises:
            KeyError: the file does not exist.
            RenderError: its sample does not fit its template.
        """
        return self._makers[path]()

    def _compose(self, exhibit: Exhibit) -> Preview:
        event = sample(exhibit.template, exhibit.variant) | {"locale": exhibit.language}
        return Preview(self._previewer.compose(exhibit.template, event).as_bytes())

    def _overview(self, page: str) -> str:
        shelves = [
            {
                "template": template,
                "events": [event for event, kind in DELIVERED.items() if kind.template == template],
                "exhibits": shown,
            }
            for template, shown in self._exhibits.items()
        ]
        return _PAGES.get_template(page).render(self._shown, shelves=shelves)

    def _page(self, exhibit: Exhibit) -> str:
        return _PAGES.get_template("mail.html").render(
            self._shown,
            exhibit=exhibit,
            preview=self._preview(exhibit),
            siblings=self._exhibits[exhibit.template],
            templates=TEMPLATES,
        )

    def _mail(self, exhibit: Exhibit) -> str:
        return self._preview(exhibit).html


def _style() -> str:
    return files("devtools.gallery").joinpath("pages", "style.css").read_text("utf-8")
