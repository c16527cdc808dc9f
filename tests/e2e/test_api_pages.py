"""The API's pages at /docs: "Execute" works at the first click, for every operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Response

from tests.support.dev import Dev
from tests.support.documents import ROOT

#: Timeout of a page step in milliseconds, for a loaded machine.
STEP_TIMEOUT_MS = 60_000

#: Operations whose example is understood but refused: no such transaction, or no signature.
REFUSED = {
    "POST /payment/refund": 404,
    "POST /payment/cancel": 404,
    "GET /payment/status/{transaction_id}": 404,
    "POST /payment/webhook": 400,
    "POST /notification/sms/status": 403,
    "POST /notification/sms/inbound": 403,
}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[Page]:
    """The page at /docs of a new `movieapp dev`."""
    dev = Dev(tmp_path_factory.mktemp("dev"))
    try:
        dev.wait_until_healthy()
        with browser.new_context() as context:
            page = context.new_page()
            page.set_default_timeout(STEP_TIMEOUT_MS)
            page.goto(f"http://localhost:{dev.port}/docs")
            yield page
        dev.stop()
    finally:
        dev.close()


def execute(page: Page, position: int, path: str) -> Response:
    """Execute an operation with what its form shows at first.

    Args:
        page: the page.
        position: of the operation, in the order of the document.
        path: the operation's path.
    """
    block = page.locator(".opblock").nth(position)
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    start = path.partition("{")[0]
    with page.expect_response(lambda response: urlsplit(response.url).path.startswith(start)) as response:
        block.get_by_role("button", name="Execute", exact=True).click()
    return response.value


def test_every_operation_is_executed_at_the_first_click(page: Page) -> None:
    paths = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
    operations = [
        (method.upper(), path) for path, item in paths.items() for method in item if method != "parameters"
    ]
    page.wait_for_selector(".opblock")
    assert page.locator(".opblock").count() == len(operations)
    statuses = {
        f"{method} {path}": execute(page, position, path).status
        for position, (method, path) in enumerate(operations)
    }
    assert {name: status for name, status in statuses.items() if status >= 300} == REFUSED
