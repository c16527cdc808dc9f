"""The Dramatiq module of a process with failpoints."""

from tests.support import failpoints

failpoints.install()

from actors.worker import broker  # noqa: E402 - the failpoints have to be there first

__all__ = ["broker"]
