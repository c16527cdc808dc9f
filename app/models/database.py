"""The connection to MongoDB, and the promise that no document is written before its indexes stand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Self

import mongoengine
import pymongo.errors
from mongoengine.errors import NotUniqueError
from pymongo import ReadPreference, WriteConcern

from app.errors import ServiceUnavailable, Unacknowledged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pymongo.collection import Collection
    from pymongo.database import Database

    from app.settings import Settings

#: MongoDB is away: the same operation may succeed later.
OUTAGES = (pymongo.errors.ConnectionFailure, mongoengine.connection.ConnectionFailure)

#: Milliseconds. Short enough that a request can still get 503 before it has tried anything. What must outlast
#: an election (12 s and more) is repeated by its caller: see `app.payments.books`.
_TIMEOUTS = {"serverSelectionTimeoutMS": 3_000, "connectTimeoutMS": 2_000, "socketTimeoutMS": 10_000}

#: A response to a customer must survive a failover; an unavailable majority must not hold it for ever. Reads
#: go to the primary, whatever the URI says: a secondary may lag, and what it shows decides nothing.
_MAJORITY = WriteConcern("majority", wtimeout=5_000)

#: Failures of a write that was never sent, or that MongoDB refused.
_NOT_WRITTEN = (pymongo.errors.ServerSelectionTimeoutError, pymongo.errors.ConfigurationError)

_index_lock = threading.RLock()
_indexed: set[type[mongoengine.Document]] = set()
_indexing: set[type[mongoengine.Document]] = set()


class Record(mongoengine.Document):
    """Base of the stored documents.

    The unique indexes stand between us and a second charge, so that no process uses a collection without
    them. A new collection gets them at its first use. Building them on one with documents takes long and
    belongs to no request: that is what `create_indexes` is for. Every access goes through `objects` or the
    methods below, and those through `_get_collection`.

    `objects` is for what happens now and then. To translate its words takes longer than MongoDB's work; what
    every payment and every delivery does speaks MongoDB's own language with the methods below.
    """

    meta: ClassVar[dict[str, Any]] = {"abstract": True, "auto_create_index": False}

    @classmethod
    def _get_collection(cls) -> Collection[dict[str, Any]]:
        collection: Collection[dict[str, Any]] = super()._get_collection()
        if cls not in _indexed:
            with _index_lock:
                if cls not in _indexed and cls not in _indexing:  # what is called here comes back here
                    _indexing.add(cls)
                    try:
                        cls._check_indexes(collection)
                        # MongoEngine takes the URI's word for these.
                        cls._collection = collection = collection.with_options(
                            read_preference=ReadPreference.PRIMARY, write_concern=_MAJORITY
                        )
                        _indexed.add(cls)
                    finally:
                        _indexing.discard(cls)
        return collection

    @classmethod
    def _check_indexes(cls, collection: Collection[dict[str, Any]]) -> None:
        if missing := cls.missing_indexes():
            if collection.find_one({}, ["_id"]) is not None:
                raise ServiceUnavailable(
                    f"The database lacks the indexes {', '.join(missing)}, so nothing was tried. "
                    "An operator has to run: movieapp migrate"
                )
            cls.ensure_indexes()

    @classmethod
    def missing_indexes(cls) -> list[str]:
        """The declared indexes that MongoDB does not have, for example `transaction_logs(booking_id)`."""
        collection: Collection[dict[str, Any]] = super()._get_collection()
        existing = [[tuple(key) for key in index["key"]] for index in collection.index_information().values()]
        return [
            f"{collection.name}({', '.join(name for name, _ in spec['fields'])})"
            for spec in cls._meta["index_specs"]
            if list(spec["fields"]) not in existing
        ]

    @classmethod
    def collection(cls) -> Collection[dict[str, Any]]:
        """The collection itself, its indexes in place."""
        return cls._get_collection()

    def insert(self) -> None:
        """Write it, checked, as a new document.

        Raises:
            NotUniqueError: a unique index has one of its values.
        """
        self.validate()
        document = self.to_mongo()
        try:
            self._get_collection().insert_one(document)
            self.pk = document["_id"]  # PyMongo makes one where there is none
        except pymongo.errors.DuplicateKeyError as error:
            raise NotUniqueError(str(error)) from error

    @classmethod
    def compare_and_set(cls, expected: dict[str, Any], update: dict[str, Any]) -> bool:
        """Change the one document that is as expected, in one write; whether there was one.

        Args:
            expected: a filter, as MongoDB stores the fields.
            update: MongoDB's update operators, and values as it stores them.
        """
        return bool(cls._get_collection().update_one(expected, update).matched_count)

    @classmethod
    def find(cls, expected: dict[str, Any], *fields: str) -> Iterator[dict[str, Any]]:
        """Some fields of every document that is as expected, as MongoDB stores them.

        Args:
            expected: a filter, as MongoDB stores the fields.
            fields: the names of those wanted, besides `_id`.
        """
        return cls._get_collection().find(expected, list(fields))

    @classmethod
    def find_one(cls, expected: dict[str, Any]) -> Self | None:
        """The one document that is as expected.

        Args:
            expected: a filter, as MongoDB stores the fields.
        """
        document = cls._get_collection().find_one(expected)
        found: Self | None = None if document is None else cls._from_son(document)
        return found


def connect(settings: Settings) -> None:
    """Set up this process's MongoDB client. Touches no network: safe before a fork or without MongoDB."""
    mongoengine.connect(
        host=settings.mongodb_uri,
        connect=False,
        tz_aware=True,
        uuidRepresentation="standard",
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


@contextmanager
def storage_writes() -> Iterator[None]:
    """`storage_errors` for a write, of which a failure need not mean that it was not carried out.

    Raises:
        Unacknowledged: MongoDB may have carried out the write: the connection broke, or no majority
            acknowledged it in time.
        ServiceUnavailable: MongoDB did not carry out the write.
    """
    with storage_errors():
        try:
            yield
        except _NOT_WRITTEN:
            raise
        except (
            pymongo.errors.ConnectionFailure,  # a NetworkTimeout, or an AutoReconnect in the middle
            pymongo.errors.WriteConcernError,
            pymongo.errors.ExecutionTimeout,
        ) as error:
            raise Unacknowledged(
                "The database did not acknowledge the request, so nothing was tried. Please try again soon."
            ) from error
