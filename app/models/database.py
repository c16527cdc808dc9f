"""The connection to MongoDB, and the promise that no document is written before its indexes stand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import mongoengine
import pymongo.errors
from mongoengine.errors import NotUniqueError

from app.errors import ServiceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.database import Database

    from app.settings import Settings

#: MongoDB is away: the same operation may succeed later.
OUTAGES = (pymongo.errors.ConnectionFailure, mongoengine.connection.ConnectionFailure)

#: Milliseconds. Long enough for an election, short enough that a request can still answer 503.
_TIMEOUTS = {"serverSelectionTimeoutMS": 3_000, "connectTimeoutMS": 2_000, "socketTimeoutMS": 10_000}

_index_lock = threading.RLock()
_indexed: set[type[mongoengine.Document]] = set()
_indexing: set[type[mongoengine.Document]] = set()


class Record(mongoengine.Document):
    """Base of the stored documents.

    MongoEngine would create indexes at the first use of a collection, but never again in that process if
    MongoDB was away just then; the unique indexes here stand between us and a second charge. So it is done
    here: every access goes through `objects` or `save`, and those through `_get_collection`.
    """

    meta: ClassVar[dict[str, Any]] = {"abstract": True, "auto_create_index": False}

    @classmethod
    def _get_collection(cls):  # type: ignore[no-untyped-def]
        collection = super()._get_collection()
        if cls not in _indexed:
            with _index_lock:
                if cls not in _indexed and cls not in _indexing:  # ensure_indexes comes back here
                    _indexing.add(cls)
                    try:
                        cls.ensure_indexes()
                        _indexed.add(cls)
                    finally:
                        _indexing.discard(cls)
        return collection


def connect(settings: Settings) -> None:
    """Set up this process's MongoDB client. Touches no network: safe before a fork or without MongoDB."""
    mongoengine.connect(
        host=settings.mongodb_uri,
        connect=False,
        tz_aware=True,
        uuidRepresentation="standard",
        w="majority",  # an answer to a customer must survive a failover
        **_TIMEOUTS,
    )


def disconnect() -> None:
    """Close the client and forget which indexes were seen to stand."""
    mongoengine.disconnect()
    _indexed.clear()


def database() -> Database[dict[str, object]]:
    """The database that `connect` set up."""
    db: Database[dict[str, object]] = mongoengine.get_db()
    return db


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn MongoDB's failures into `ServiceUnavailable`, but for broken unique constraints.

    Raises:
        ServiceUnavailable: MongoDB did not take or answer the operation.
    """
    try:
        yield
    except NotUniqueError:
        raise
    except (
        pymongo.errors.PyMongoError,
        mongoengine.errors.OperationError,
        mongoengine.connection.ConnectionFailure,
    ) as error:
        raise ServiceUnavailable(
            "The database did not answer, so nothing was tried. Please try again soon."
        ) from error
