"""The list of erased customers. The only writer of `erasures`.

Addresses, phone numbers, and user ids are stored as keyed hashes: with the key, one can test whether a value
was erased, but not read the values from the list.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mongoengine.errors import NotUniqueError

from app.channels import ChannelName
from app.clock import from_iso, utcnow
from app.ids import normalized_id
from app.models import Erasure, storage_errors, storage_writes
from app.suppressions.addresses import normalize

if TYPE_CHECKING:
    from datetime import datetime

    from app.settings import Settings

#: Events younger than this are not looked up, to save a query for most events. A person who was active within
#: this time can't be erased.
FRESH = timedelta(minutes=1)


@dataclass(frozen=True)
class Person:
    """The identifiers of a customer. At least one field is set.

    Attributes:
        user_ids: user ids, in any Unicode form.
        emails: email addresses, in any case.
        phones: phone numbers in E.164, or any notation with a country code.
    """

    user_ids: Sequence[str] = ()
    emails: Sequence[str] = ()
    phones: Sequence[str] = ()

    @property
    def stored_user_ids(self) -> list[str]:
        """The user ids as payments store them."""
        return list(dict.fromkeys(map(normalized_id, self.user_ids)))

    def names(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and the normalized value of each identifier."""
        yield from (("user", user_id) for user_id in self.stored_user_ids)
        yield from (("email", normalize(ChannelName.EMAIL, email)) for email in self.emails)
        yield from (("phone", normalize(ChannelName.SMS, phone)) for phone in self.phones)

    def is_in(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is about this person."""
        return bool(set(self.names()) & set(_person_of(event).names()))


class Erasures:
    """The list of erased customers.

    Args:
        key: key of the hashes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def ids(self, person: Person) -> list[str]:
        """Return the person's ids in the list. Audit records use them instead of addresses."""
        return [self._id(kind, value) for kind, value in person.names()]

    def add(self, person: Person, now: datetime) -> None:
        """Add a person. Safe to repeat.

        Raises:
            ServiceUnavailable: MongoDB is unavailable. Repeat the call.
        """
        for name in self.ids(person):
            with storage_writes():
                try:
                    Erasure(id=name, erased_at=now).insert()
                except NotUniqueError:
                    Erasure.compare_and_set({"_id": name}, {"$set": {"erased_at": now}})

    def covers(self, event: Mapping[str, Any]) -> bool:
        """Return whether an event is older than the erasure of its customer.

        Raises:
            ServiceUnavailable: MongoDB is unavailable.
        """
        happened = from_iso(event.get("timestamp"))
        if happened and utcnow() - FRESH < happened:
            return False
        names = self.ids(_person_of(event))
        # An event without a valid timestamp may be older than the erasure.
        before = {"erased_at": {"$gte": happened}} if happened else {}
        with storage_errors():
            return bool(names) and Erasure.find_one({"_id": {"$in": names}, **before}) is not None

    def _id(self, kind: str, value: str) -> str:
        return f"{kind}:{hmac.new(self._key, f'erased {kind}:{value}'.encode(), hashlib.sha256).hexdigest()}"


def make_erasures(settings: Settings) -> Erasures:
    """Return the list with the key from `settings`."""
    return Erasures(settings.suppression_secret)


def _person_of(event: Mapping[str, Any]) -> Person:
    def named(field: str) -> tuple[str, ...]:
        value = event.get(field)
        return (value,) if isinstance(value, str) and value else ()

    return Person(named("user_id"), named("user_email"), named("user_phone"))
