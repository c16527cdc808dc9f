"""`movieapp templates gallery`: a self-contained folder that shows every mail."""

from __future__ import annotations

import json
import re
import shutil
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.settings import Settings
from cli.main import main
from devtools.gallery.export import SOURCES, ForeignFolder, export, sources
from devtools.gallery.preview import Preview
from devtools.gallery.site import Site, exhibits
from tests.support.commands import environment
from tests.support.documents import ROOT

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02"
    "0000000b4944415478da63fccf00000204010065e0a9a30000000049454e44ae426082"
)


class Links(HTMLParser):
    """Return the references of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.loaded: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("href", "src"):
                (self.loaded if name == "src" or tag == "link" else self.found).append(value or "")


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    export(Settings(_env_file=None), folder, screenshots=False)
    return folder


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["templates", "gallery", *arguments], env=environment(settings))


def test_every_mail_has_a_page(gallery: Path) -> None:
    files = {path.name for path in gallery.iterdir()}
    assert files == {"index.html", "style.css"} | {
        f"{exhibit.name}{kind}.html" for exhibit in exhibits() for kind in ("", ".mail")
    }


def test_every_link_leads_to_a_gallery_file(gallery: Path) -> None:
    files = {path.name for path in gallery.iterdir()}
    pages = [path for path in gallery.glob("*.html") if not path.name.endswith(".mail.html")]
    reached: set[str] = set()
    for page in pages:
        links = Links(page.read_text())
        targets = {link for link in links.found + links.loaded if not link.startswith("data:")}
        assert targets <= files
        reached |= targets
    assert reached == files


def test_gallery_loads_nothing_external(gallery: Path) -> None:
    for page in gallery.glob("*.html"):
        assert not [
            link for link in Links(page.read_text()).loaded if re.match(r"[a-z]+:(?<!data:)|//", link)
        ]


def test_pages_show_text_part_and_headers_as_text(gallery: Path) -> None:
    full = (gallery / "payment_success.full.en.html").read_text()
    assert "<dt>Message-ID</dt>" in full
    assert "TXN-456789" in full
    assert "multipart/" in full
    hostile = (gallery / "payment_success.hostile.en.html").read_text()
    assert "<script" not in hostile
    assert "&lt;script&gt;" in hostile
    assert '<iframe sandbox src="payment_success.hostile.en.mail.html"' in hostile


def test_an_existing_gallery_is_replaced_by_the_same_bytes_and_its_path_printed(
    settings: Settings, gallery: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "gallery"
    shutil.copytree(gallery, folder)
    (folder / "index.html").write_text("<p>movieapp templates gallery, of an older version")
    (folder / "gone_template.full.en.html").write_text("<p>of an older version")
    (folder / "notes.txt").write_text("a person's own")
    done = run(settings, "--output", str(folder))
    assert done.exit_code == 0
    assert str(folder / "index.html") in done.stdout
    assert (folder / "notes.txt").read_text() == "a person's own"
    written = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "notes.txt"}
    assert written == {path.name: path.read_bytes() for path in gallery.iterdir()}


def test_a_folder_that_is_not_a_gallery_is_not_overwritten(settings: Settings, tmp_path: Path) -> None:
    own = tmp_path / "index.html"
    own.write_text("<p>a person's own")
    with pytest.raises(ForeignFolder):
        export(settings, tmp_path, screenshots=False)
    done = run(settings, "--output", str(tmp_path))
    assert (done.exit_code, done.stderr) == (
        1,
        f"Error: {tmp_path} is not empty and contains no gallery. Choose another directory.\n",
    )
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]


def test_the_readme_and_the_screenshots_in_docs_are_current() -> None:
    documented = ROOT / "docs/templates"
    site = Site(Settings(_env_file=None), screenshots=True)
    again = "run: movieapp templates gallery --output docs/templates --screenshots"
    assert (documented / "README.md").read_text() == site.content("README.md"), again
    assert json.loads((documented / SOURCES).read_text()) == sources(site), again
    assert {f"screenshots/{path.name}" for path in documented.glob("screenshots/*.png")} == set(sources(site))


def test_without_chromium_no_file_is_changed(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    done = CliRunner().invoke(
        main,
        ["templates", "gallery", "--screenshots", "--output", str(folder)],
        env=environment(settings) | {"PATH": str(tmp_path)},
    )
    assert done.exit_code == 1
    assert "apt-get install chromium" in done.stderr
    assert not folder.exists()


def test_a_preview_shows_only_attached_images() -> None:
    message = EmailMessage()
    message["Subject"] = "Two images"
    message.set_content("text\n")
    message.add_alternative(
        '<p><img alt="" src="cid:code@example.com"><img alt="" width="9" src="https://cdn.example.com/x.jpg">'
        '<a href="https://example.com/x.jpg">',
        subtype="html",
    )
    _, page = message.iter_parts()
    assert isinstance(page, EmailMessage)
    page.add_related(PNG, "image", "png", cid="<code@example.com>")
    preview = Preview(message.as_bytes())
    assert preview.html.count('src="data:image/png;base64,iVBOR') == 1
    assert preview.html.count('src="data:image/svg+xml,') == 1
    assert 'href="https://example.com/x.jpg"' in preview.html
    assert preview.headers == [("Subject", "Two images")]
    assert preview.structure.splitlines() == [
        "multipart/alternative",
        "  text/plain, 5 bytes",
        "  multipart/related",
        "    text/html, 137 bytes",
        f"    image/png, {len(PNG)} bytes",
    ]
