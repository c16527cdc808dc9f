"""The connection to MongoDB, and the guarantee that no document is written before its indexes exist."""

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
    from collections.abc import Iterator, Mapping, Sequence

    from pymongo.collection import Collection
    from pymongo.database import Database

    from app.settings import Settings

#: MongoDB is unavailable, or no majority has a write yet: the same operation may succeed later.
OUTAGES = (
    pymongo.errors.ConnectionFailure,
    pymongo.errors.WriteConcernError,
    mongoengine.connection.ConnectionFailure,
    ServiceUnavailable,
)

#: Milliseconds. Short enough that a request gets 503 before it has charged anything. Callers repeat
#: operations that must outlast an election (12 s and more): see `app.payments.books`.
_TIMEOUTS = {"serverSelectionTimeoutMS": 3_000, "connectTimeoutMS": 2_000, "socketTimeoutMS": 10_000}

#: A response to a customer must survive a failover; but an unavailable majority must not delay it
#: indefinitely. Reads go to the primary, whatever the URI says, because a secondary may lag.
_MAJORITY = WriteConcern("majority", wtimeout=5_000)

#: Failures of a write that was never sent, or that MongoDB refused.
_NOT_WRITTEN = (pymongo.errors.ServerSelectionTimeoutError, pymongo.errors.ConfigurationError)

#: Collation that ignores case, for indexes of email addresses.
CASE_INSENSITIVE = {"locale": "en", "strength": 2}

_index_lock = threading.RLock()
_indexed: set[type[mongoengine.Document]] = set()
_indexing: set[type[mongoengine.Document]] = set()


class Record(mongoengine.Document):
    """Base of the stored documents.

    The unique indexes prevent a second charge, so no process uses a collection without them. A new collection
    gets them at its first use. On a collection with documents that takes too long for a request, so
    `create_indexes` does it. Every access goes through `objects` or the methods below, and those through
    `_get_collection`.

    Use `objects` for infrequent operations. Its translation takes longer than MongoDB's work, so the steps of
    every payment and delivery use the methods below, with MongoDB's own operators.
    """

    meta: ClassVar[dict[str, Any]] = {"abstract": True, "auto_create_index": False}

    #: Names of indexes that earlier versions built and no query of this version needs.
    obsolete_indexes: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def _get_collection(cls) -> Collection[dict[str, Any]]:
        collection: Collection[dict[str, Any]] = super()._get_collection()
        if cls not in _indexed:
            with _index_lock:
                if cls not in _indexed and cls not in _indexing:  # the calls below re-enter this function
                    _indexing.add(cls)
                    try:
                        cls._check_indexes(collection)
                        # Otherwise MongoEngine uses the values of the URI.
                        cls._collection = collection = collection.with_options(
                            read_preference=ReadPreference.PRIMARY, write_concern=_MAJORITY
                        )
                        _indexed.add(cls)
                    finally:
                        _indexing.discard(cls)
        return collection

    @classmethod
    def _check_indexes(cls, collection: Collection[dict[str, Any]]) -> None:
        if collection.database.client.is_mongos:
            raise ServiceUnavailable(
                "The database is sharded, so a booking could be paid twice. "
                "An operator must run: movieapp check"
            )
        if missing := cls.missing_indexes():
            if collection.find_one({}, ["_id"]) is not None:
                raise ServiceUnavailable(
                    f"The database lacks the indexes {', '.join(missing)}, so the request was not "
                    "processed. An operator must run: movieapp migrate"
                )
            cls.ensure_indexes()

    @classmethod
    def build_indexes(cls) -> None:
        """Build the declared indexes that are missing, also on a collection with documents."""
        with _index_lock:
            # MongoEngine gets the collection through the method that refuses it if indexes are missing.
            _indexing.add(cls)
            try:
                cls.ensure_indexes()
            finally:
                _indexing.discard(cls)

    @classmethod
    def missing_indexes(cls) -> list[str]:
        """Return declared indexes that MongoDB does not have, for example `transaction_logs(booking_id)`."""
        collection: Collection[dict[str, Any]] = super()._get_collection()
        existing = list(collection.index_information().values())
        return [
            _label(collection.name, spec)
            for spec in cls._meta["index_specs"]
            if not any(_is_as_declared(index, spec) for index in existing)
        ]

    @classmethod
    def standing_obsolete_indexes(cls) -> list[str]:
        """Return the names of the obsolete indexes that MongoDB still has."""
        collection: Collection[dict[str, Any]] = super()._get_collection()
        return [name for name in collection.index_information() if name in cls.obsolete_indexes]

    @classmethod
    def drop_index(cls, name: str) -> None:
        """Drop an obsolete index. Refused by `_get_collection` while a declared index is missing."""
        cls._get_collection().drop_index(name)

    @classmethod
    def collection(cls) -> Collection[dict[str, Any]]:
        """Return the collection, with its indexes built."""
        return cls._get_collection()

    def insert(self) -> None:
        """Validate and insert this document.

        Raises:
            NotUniqueError: a value exists in a unique index.
        """
        self.validate()
        document = self.to_mongo()
        try:
            self._get_collection().insert_one(document)
            self.pk = document["_id"]  # PyMongo creates one if there is none
        except pymongo.errors.DuplicateKeyError as error:
            raise NotUniqueError(str(error)) from error

    @classmethod
    def compare_and_set(cls, expected: dict[str, Any], update: dict[str, Any]) -> bool:
        """Update one document that matches, in one write. Return whether one matched.

        Args:
            expected: a MongoDB filter.
            update: MongoDB update operators.
        """
        return bool(cls._get_collection().update_one(expected, update).matched_count)

    @classmethod
    def find(cls, expected: dict[str, Any], *fields: str) -> Iterator[dict[str, Any]]:
        """Return some fields of every matching document, as MongoDB stores them.

        Args:
            expected: a MongoDB filter.
            fields: names of the fields besides `_id`.
        """
        return cls._get_collection().find(expected, list(fields))

    @classmethod
    def select(
        cls,
        expected: dict[str, Any],
        fields: Sequence[str] | None = None,
        *,
        sort: Sequence[tuple[str, int]] = (),
        limit: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Return matching documents in order, as MongoDB stores them.

        Args:
            expected: a MongoDB filter.
            fields: names of the fields besides `_id`; None for all.
            sort: fields, each with 1 for ascending or -1 for descending.
            limit: at most this many; 0 for all.
        """
        found = cls._get_collection().find(expected, list(fields) if fields else None)
        return (found.sort(list(sort)) if sort else found).limit(limit)

    @classmethod
    def summarize(cls, stages: Sequence[dict[str, Any]], milliseconds: int) -> Iterator[dict[str, Any]]:
        """Return the results of an aggregation.

        Args:
            stages: read-only pipeline stages.
            milliseconds: time limit.
        """
        return cls._get_collection().aggregate(list(stages), maxTimeMS=milliseconds)

    @classmethod
    def find_one(cls, expected: dict[str, Any]) -> Self | None:
        """Return a matching document, or None.

        Args:
            expected: a MongoDB filter.
        """
        document = cls._get_collection().find_one(expected)
        return None if document is None else cls.from_document(document)

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> Self:
        """Return the record of a whole document as MongoDB stores it."""
        record: Self = cls._from_son(document)
        return record


def _is_as_declared(index: Mapping[str, Any], spec: Mapping[str, Any]) -> bool:
    """Return whether an existing index has the declared fields, uniqueness, filter, and collation."""
    # MongoDB adds default values to a collation.
    collation = index.get("collation", {})
    return (
        [tuple(key) for key in index["key"]] == list(spec["fields"])
        and index.get("unique", False) == spec.get("unique", False)
        and index.get("partialFilterExpression") == spec.get("partialFilterExpression")
        and bool(collation) == ("collation" in spec)
        and spec.get("collation", {}).items() <= collation.items()
    )


def _label(collection: str, spec: Mapping[str, Any]) -> str:
    kind = " ignoring case" if "collation" in spec else ""
    return f"{collection}({', '.join(name for name, _ in spec['fields'])}){kind}"


def connect(settings: Settings) -> None:
    """Set up this process's MongoDB client. Opens no connection, so it is safe before a fork or without
    MongoDB."""
    mongoengine.connect(
        host=settings.mongodb_uri,
        connect=False,
        tz_aware=True,
        uuidRepresentation="standard",
        **_TIMEOUTS,
    )


def disconnect() -> None:
    """Close the client and clear the cache of known indexes."""
    mongoengine.disconnect()
    _indexed.clear()


def database() -> Database[dict[str, object]]:
    """Return the database that `connect` set up."""
    db: Database[dict[str, object]] = mongoengine.get_db()
    return db


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn MongoDB's failures into `ServiceUnavailable`, except for violations of unique constraints.

    Raises:
        ServiceUnavailable: MongoDB did not carry out the operation, or sent no response.
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
            "The database is unavailable, so the request was not processed. Please try again soon."
        ) from error


@contextmanager
def storage_writes() -> Iterator[None]:
    """`storage_errors` for writes: distinguishes failed writes from those with an unknown outcome.

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
                "The database did not acknowledge the write, so the request was not processed. "
                "Please try again soon."
            ) from error
