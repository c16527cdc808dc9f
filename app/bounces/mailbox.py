"""Read bounces from a mailbox over IMAP: handle each message, then move it to another folder.

Every worker polls the mailbox, one at a time while Redis is available. Two at the same time are harmless:
each report changes its delivery once, and each message moves once. A message leaves the folder only after its
report is in MongoDB, so the next worker takes over from one that dies.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote, urlsplit

import redis
from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import IMAPClientError

from app.bounces.intake import Door, Taken, take
from app.bounces.reading import MAX_BYTES
from app.models import OUTAGES
from app.telemetry.logs import get_logger

if TYPE_CHECKING:
    from app.settings import Settings

log = get_logger(__name__)

#: Folders for handled messages and for those that an operator should read.
PROCESSED, UNMATCHED = "Bounces processed", "Bounces unmatched"

#: Seconds between two polls. While a worker polls, others are locked out for as long.
POLL_SECONDS, _CLAIM_SECONDS = 60, 60

_TIMEOUT = SocketTimeout(connect=10, read=30)

#: Maximum number of messages handled in one poll.
_BATCH_SIZE = 500


class Claim(Protocol):
    """Prevents two workers from polling at the same time."""

    def take(self) -> bool:
        """Claim the mailbox; return whether this worker may poll now."""

    def renew(self) -> None:
        """Extend the claim."""


class RedisClaim:
    """A claim in Redis that expires. While Redis is unavailable, every worker may poll.

    Args:
        store: the Redis client.
        namespace: starts the key.
    """

    def __init__(self, store: redis.Redis, namespace: str) -> None:
        self._redis = store
        self._key = f"{namespace}bounces:mailbox"

    def take(self) -> bool:
        """Claim the mailbox for a minute; False if another worker holds the claim."""
        try:
            return bool(self._redis.set(self._key, "claimed", nx=True, ex=_CLAIM_SECONDS))
        except redis.RedisError as error:
            log.warning("bounce mailbox not claimed", reason=str(error))
            return True

    def renew(self) -> None:
        """Extend the claim by a minute."""
        try:
            self._redis.set(self._key, "claimed", ex=_CLAIM_SECONDS)
        except redis.RedisError:
            return


@dataclass(frozen=True)
class Address:
    """Address and login of the mailbox."""

    host: str
    port: int
    user: str
    password: str
    folder: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Parse a validated `imaps://user:password@host:port/folder`."""
        parts = urlsplit(url)
        folder = unquote(parts.path.strip("/")) or "INBOX"
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        return cls(parts.hostname or "", parts.port or 993, user, password, folder)


class Mailbox:
    """A connection to the mailbox with its folder selected.

    Args:
        client: a client that is logged in.
        folder: receives the bounces.
        readonly: select the folder read-only.
    """

    def __init__(self, client: IMAPClient, folder: str, *, readonly: bool = False) -> None:
        self._client = client
        client.select_folder(folder, readonly=readonly)
        self._prefix = _prefix(client)

    def missing_folders(self) -> list[str]:
        """Return the names of the folders for handled messages that do not exist yet."""
        folders = (self._prefix + name for name in (PROCESSED, UNMATCHED))
        return [folder for folder in folders if not self._client.folder_exists(folder)]

    def create_folders(self) -> None:
        """Create the folders for handled messages that do not exist yet."""
        for folder in self.missing_folders():
            try:
                self._client.create_folder(folder)
            except IMAPClientError:  # another worker was faster
                if not self._client.folder_exists(folder):
                    raise

    def waiting(self) -> list[int]:
        """Return the UIDs of the messages, oldest first."""
        return sorted(self._client.search(["UNDELETED"]))[:_BATCH_SIZE]

    def fetch(self, uid: int) -> bytes | None:
        """Return the part of a message that the parser reads; None if the message is gone."""
        # PEEK does not mark messages as read for people who use the mailbox.
        found: dict[int, dict[bytes, Any]] = self._client.fetch([uid], [f"BODY.PEEK[]<0.{MAX_BYTES}>"])
        for name, value in found.get(uid, {}).items():
            if name.startswith(b"BODY[]"):
                return bytes(value or b"")
        return None

    def move(self, uid: int, name: str) -> None:
        """Move a message to another folder, unless another worker has moved it.

        At any time, the message is in at least one of the two folders.
        """
        try:
            self._move(uid, self._prefix + name)
        except IMAPClientError:
            if self._client.search(["UID", str(uid), "UNDELETED"]):
                raise

    def _move(self, uid: int, folder: str) -> None:
        if self._client.has_capability("MOVE"):
            self._client.move([uid], folder)
            return
        self._client.copy([uid], folder)
        self._client.delete_messages([uid], silent=True)
        # Without UIDPLUS, EXPUNGE would also remove messages that others marked, so ours stay marked as
        # deleted.
        if self._client.has_capability("UIDPLUS"):
            self._client.uid_expunge([uid])


def _prefix(client: IMAPClient) -> str:
    """Return the prefix of personal folders: `INBOX.` on Courier and Cyrus, empty on most servers."""
    if not client.has_capability("NAMESPACE"):
        return ""
    personal = client.namespace().personal
    return str(personal[0][0]) if personal else ""


@contextmanager
def open_mailbox(
    url: str, ca_file: Path | None = None, *, timeout: SocketTimeout = _TIMEOUT, readonly: bool = False
) -> Iterator[Mailbox]:
    """Connect over TLS and log in.

    Args:
        url: see `Address.parse`.
        ca_file: certificate of a private CA.
        timeout: seconds to wait for the connection and for each response.
        readonly: change nothing in the mailbox.

    Raises:
        OSError: the server is unavailable, or its certificate is not trusted.
        imapclient.exceptions.IMAPClientError: it refuses the login or the folder.
    """
    at = Address.parse(url)
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    with IMAPClient(at.host, at.port, ssl=True, ssl_context=context, timeout=timeout) as client:
        client.login(at.user, at.password)
        yield Mailbox(client, at.folder, readonly=readonly)


def poll(
    settings: Settings, claim: Claim, stopping: Callable[[], bool], handle: Callable[..., Taken] = take
) -> int:
    """Handle the messages in the mailbox, unless another worker does.

    Args:
        settings: the process's settings.
        claim: keeps other workers away.
        stopping: returns True to stop after the current message.
        handle: handles one message.

    Returns:
        The number of handled messages.

    Raises:
        OSError: the server is unavailable.
        imapclient.exceptions.IMAPClientError: it refuses the login or a command.
        ServiceUnavailable: MongoDB is unavailable. Unhandled messages stay in the folder.
    """
    if not claim.take():
        return 0
    count = 0
    with open_mailbox(settings.bounce_mailbox_url.get_secret_value(), settings.bounce_mailbox_ca_file) as box:
        # Before the first message is handled: one that can't be moved would be handled once a minute.
        box.create_folders()
        for uid in box.waiting():
            if stopping():
                break
            raw = box.fetch(uid)
            if raw is not None:
                box.move(uid, _file(raw, settings, handle))
                count += 1
            claim.renew()
    return count


def _file(raw: bytes, settings: Settings, handle: Callable[..., Taken]) -> str:
    """Handle a message, and return the folder to move it to."""
    try:
        taken = handle(raw, settings, Door.MAILBOX)
    except OUTAGES:
        raise
    except Exception:  # a bug: the message must not block the others, and an operator has to read it
        log.exception("bounce not handled")
        return UNMATCHED
    return PROCESSED if taken.is_settled else UNMATCHED
