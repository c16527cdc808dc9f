"""What gunicorn runs under `movieapp dev`: the API as it is, and beside it the gallery of the mails."""

from werkzeug.middleware.dispatcher import DispatcherMiddleware

from app.settings import load_settings
from devtools.gallery.live import LiveGallery
from wsgi import app as api

app = DispatcherMiddleware(api, {"/dev/templates": LiveGallery(load_settings())})
