"""The gunicorn application of a process with failpoints."""

from datetime import timedelta

from tests.support import failpoints

failpoints.install()

from app.payments import books  # noqa: E402 - the failpoints have to be there first
from wsgi import app  # noqa: E402

# Long enough for a retry, short enough for a test that loses MongoDB a dozen times.
books.ELECTION = timedelta(seconds=2)

__all__ = ["app"]
