"""Serve the gallery while templates are edited."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import TemplateSyntaxError
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from devtools.gallery.site import Site, error_page

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from app.settings import Settings

#: Nothing is cached, nothing is loaded from other origins, and no script of a mail can run.
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_MAIL_HEADERS = {
    "Content-Security-Policy": "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
}

_TYPES = {".html": "text/html", ".css": "text/css", ".md": "text/plain"}


class LiveGallery:
    """A WSGI application that renders the pages of `Site` from the current templates.

    The response of `version` changes whenever a template file does.

    Args:
        settings: the sender and the brand.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = Path(str(files("email_templates")))
        self._lock = threading.Lock()
        self._sites: dict[str, Site] = {}

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._respond(Request(environ))(environ, start_response)

    def _respond(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return MethodNotAllowed(["GET", "HEAD"]).get_response()
        if not request.environ["PATH_INFO"]:
            # Links between the pages are relative.
            return redirect(f"{request.root_path}/")
        path = request.path.removeprefix("/")
        if path == "version":
            return Response(self._version(), mimetype="text/plain", headers=_HEADERS)
        return self._page(path or "index.html")

    def _page(self, path: str) -> Response:
        version = self._version()
        try:
            site = self._site(version)
            if path not in site.paths():
                return NotFound().get_response()
            content = site.content(path)
        except TemplateSyntaxError as error:
            return _failed(f"{error.name}, line {error.lineno}: {error.message}", version)
        # An unfinished edit can raise any exception, which its author needs to see.
        except Exception as error:
            return _failed(f"{type(error).__name__}: {error}", version)
        of_mail = _MAIL_HEADERS if path.endswith(".mail.html") else {}
        return Response(content, mimetype=_TYPES[Path(path).suffix], headers=_HEADERS | of_mail)

    def _site(self, version: str) -> Site:
        with self._lock:
            if version not in self._sites:
                self._sites = {version: Site(self._settings, version=version)}
            return self._sites[version]

    def _version(self) -> str:
        """Return a version of the files that changes with every edit, addition, or removal."""
        stats = []
        for path in self._folder.rglob("*.*"):
            # Editors save by renaming a second file, so a listed file may no longer exist.
            with suppress(FileNotFoundError):
                stats.append(path.stat())
        return f"{max(stat.st_mtime_ns for stat in stats)}-{len(stats)}-{sum(stat.st_size for stat in stats)}"


def _failed(message: str, version: str) -> Response:
    return Response(error_page(message, version), 500, mimetype="text/html", headers=_HEADERS)
