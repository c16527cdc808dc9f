"""The gallery of `movieapp dev`, without the rest of the stack."""

from __future__ import annotations

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from app import create_app
from app.settings import Settings
from devtools.gallery.live import LiveGallery
from devtools.gallery.site import exhibits


@pytest.fixture(scope="module")
def client() -> Client:
    gallery = LiveGallery(Settings(_env_file=None))
    return Client(DispatcherMiddleware(lambda *_: [], {"/dev/templates": gallery}))


def test_the_gallery_is_served_without_the_trailing_slash(client: Client) -> None:
    response = client.get("/dev/templates")
    assert (response.status_code, response.headers["Location"]) == (302, "/dev/templates/")
    assert "Emails of movieapp" in client.get("/dev/templates/").text


def test_a_mail_of_each_template_has_a_page(client: Client) -> None:
    shown = {exhibit.template: exhibit for exhibit in exhibits()}
    for exhibit in shown.values():
        for name in (f"{exhibit.name}.html", f"{exhibit.name}.mail.html"):
            assert client.get(f"/dev/templates/{name}").status_code == 200
    assert client.get("/dev/templates/style.css").mimetype == "text/css"


def test_a_page_contains_its_version(client: Client) -> None:
    version = client.get("/dev/templates/version").text
    page = client.get("/dev/templates/payment_success.full.en.html")
    assert f'"{version}"' in page.text
    assert page.headers["Cache-Control"] == "no-store"


def test_a_mail_opened_directly_runs_and_loads_nothing(client: Client) -> None:
    mail = client.get("/dev/templates/payment_success.hostile.en.mail.html")
    assert "sandbox; default-src 'none'" in mail.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path", ["nothing.html", "../secrets", "layout.mjml", "payment_success.full.en", "index.html/"]
)
def test_other_paths_are_not_found(client: Client, path: str) -> None:
    assert client.get(f"/dev/templates/{path}").status_code == 404


def test_other_methods_are_refused(client: Client) -> None:
    response = client.post("/dev/templates/version")
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, HEAD")


def test_the_production_api_has_no_gallery(stored_settings: Settings) -> None:
    assert create_app(stored_settings).test_client().get("/dev/templates/").status_code == 404
