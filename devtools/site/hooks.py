"""MkDocs hooks: pages for the source files that the documentation links to.

On a code host, a link from `docs/` to `deploy/prometheus/alerts.yml` opens that file. A site contains only
`docs/`, so these hooks add a page for each such file, and link to it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_CODE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)

#: Base URL of the pages of source files.
_FOLDER = "source/"

#: File name suffix → language of its code block.
_LANGUAGES = {".py": "python", ".yml": "yaml", ".yaml": "yaml", ".json": "json", ".sh": "sh", ".cfg": "ini"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add a page for each file or directory outside of the documentation that a page links to."""
    docs = Path(config.docs_dir)
    root = docs.parent
    found = {
        target
        for file in files.documentation_pages()
        for target in _outside(file.content_string, file.src_uri)
    }
    expected: set[str] = set()
    while found:
        target = found.pop()
        if target not in expected and (root / target).exists():
            expected.add(target)
            if target.endswith(".md"):
                found |= _outside((root / target).read_text(), _page(target))
    for target in sorted(expected):
        files.append(File.generated(config, _page(target), content=_content(root / target, target)))
    return files


def on_page_markdown(markdown: str, *, page: Page, files: Files, **_: object) -> str:
    """Rewrite links to files outside `docs/` to the pages of `on_files`, and the links back."""
    source = page.file.src_uri
    here = posixpath.dirname(source) or "."

    def replace(found: re.Match[str]) -> str:
        target = _path(found[2], source)
        if target is None:
            return found[0]
        uri = target.removeprefix("docs/") if target.startswith("docs/") else _page(target)
        if files.get_file_from_path(uri) is None:
            return found[0]
        anchor = found[3] if found[3] and uri.endswith(".md") else ""
        return f"{found[1]}{posixpath.relpath(uri, here)}{anchor}{found[4]}"

    parts = _CODE.split(markdown)
    return "".join(part if number % 2 else _LINK.sub(replace, part) for number, part in enumerate(parts))


def _outside(markdown: str, source: str) -> set[str]:
    """Return the files outside `docs/` that a page links to."""
    paths = (_path(found[2], source) for found in _LINK.finditer(_CODE.sub("", markdown)))
    return {path for path in paths if path and not path.startswith("docs/")}


def _path(link: str, source: str) -> str | None:
    """Return the path of a link's target from the project's root; None for another site."""
    if re.match(r"[a-z]+:", link):
        return None
    original = (
        source.removeprefix(_FOLDER).removesuffix(".md") if source.startswith(_FOLDER) else f"docs/{source}"
    )
    path = posixpath.normpath(posixpath.join(posixpath.dirname(original), link))
    return None if path == "docs" or path.startswith("..") else path


def _page(target: str) -> str:
    """Return the page of a file. MkDocs ignores names with a leading dot."""
    return _FOLDER + re.sub(r"(^|/)\.", r"\1", target) + ".md"


def _content(path: Path, target: str) -> str:
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir() if not file.name.startswith(("_", ".")))
        return "\n".join([f"# {target}", "", *(f"- {name}" for name in names)]) + "\n"
    text = path.read_text()
    if path.suffix == ".md":
        return text
    return f"# {target}\n\n````{_LANGUAGES.get(path.suffix, 'text')}\n{text}\n````\n"
