"""/dev/checkout: a small shop that simulates the flow of Stripe's Payment Element."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.utils import redirect
from werkzeug.wrappers import Request, Response

from devtools.stripe_simulator.test_cards import CARDS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

    from app.settings import Settings

#: Payment methods offered by the page: label → test card.
_OFFERED = {
    "Visa, pays": CARDS["pm_card_visa"],
    "Visa, asks for 3-D Secure": CARDS["pm_card_authenticationRequiredOnSetup"],
    "Visa, declined": CARDS["pm_card_visa_chargeDeclined"],
    "Visa, insufficient funds": CARDS["pm_card_chargeDeclinedInsufficientFunds"],
}

_PAGES = Environment(
    loader=PackageLoader("devtools.stack", "pages"), autoescape=True, undefined=StrictUndefined
)

_TYPES = {"checkout.html": "text/html", "checkout.js": "text/javascript"}


class Checkout:
    """A WSGI application: the page and its script.

    The page calls the API directly. In a real shop, the server does this with its API key.

    Args:
        settings: have PAYMENT_GATEWAY_URL, where the page confirms payments.
    """

    def __init__(self, settings: Settings) -> None:
        self._gateway_url = settings.payment_gateway_url.rstrip("/")

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return self._respond(Request(environ))(environ, start_response)

    def _respond(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return MethodNotAllowed(["GET", "HEAD"]).get_response()
        if not request.environ["PATH_INFO"]:
            # The page refers to its script by a relative path.
            return redirect(f"{request.root_path}/")
        name = request.path.removeprefix("/") or "checkout.html"
        if name not in _TYPES:
            return NotFound().get_response()
        page = _PAGES.get_template(name).render(gateway_url=self._gateway_url, cards=_OFFERED)
        policy = f"connect-src 'self' {self._gateway_url}; script-src 'self'; style-src 'unsafe-inline'"
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": f"default-src 'none'; {policy}"}
        return Response(page, mimetype=_TYPES[name], headers=headers)
