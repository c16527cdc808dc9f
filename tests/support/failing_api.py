"""What gunicorn runs in a process with failpoints."""

from tests.support import failpoints

failpoints.install()

from wsgi import app  # noqa: E402 - the failpoints have to be there first

__all__ = ["app"]
