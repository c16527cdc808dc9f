"""The WSGI application of `movieapp dev`: the API, the gallery, and the checkout page."""

from werkzeug.middleware.dispatcher import DispatcherMiddleware

from app.settings import load_settings
from devtools.gallery.live import LiveGallery
from devtools.stack.checkout import Checkout
from wsgi import app as api

_settings = load_settings()
app = DispatcherMiddleware(
    api, {"/dev/templates": LiveGallery(_settings), "/dev/checkout": Checkout(_settings)}
)
