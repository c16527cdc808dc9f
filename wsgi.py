"""gunicorn's way in, and any other WSGI server's: `gunicorn wsgi:app`."""

import sys

from app import create_app
from app.settings import SettingsError

try:
    app = create_app()
except SettingsError as error:
    sys.exit(f"movieapp: {error}")
