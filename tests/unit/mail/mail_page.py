"""The parts of a page that a mail program shows."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """Tags, attributes, links and words of a page; its style sheets left out.

    Attributes:
        cells: the text of each table cell without a table in it, label or value of a detail.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.links: list[str] = []
        self.cells: list[str] = []
        self.title = ""
        self._words: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.text = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "background")]
        classes = (dict(attrs).get("class") or "").split()
        if tag == "td" and {"label", "value"} & set(classes):
            self.cells.append("")
            tag = "td detail"
        if tag not in ("meta", "br", "img", "link"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1].split()[0] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "title":
            self.title += data
        elif "style" not in self._open:
            self._words.append(data)
            if "td detail" in self._open:
                self.cells[-1] += data.strip()
