"""Links that save tickets to Google Wallet: https://developers.google.com/wallet/tickets/events/use-cases/jwt

A link carries the class (the showing) and the objects (its tickets) in a signed JWT; Google creates both when
the customer follows it. So sending a mail sends nothing to Google. Google advises against JWTs of more than
1,800 characters. Longer content goes into further links, and optional details are left out.

A later link does not change an existing id. The ids are hashes of the content, so the link saves a new ticket
after an update.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from actors.channels.email.wallet.showing import Showing, Style, Ticket
from app.text import one_line

if TYPE_CHECKING:
    from app.settings.wallet import GoogleCredentials

SAVE_URL = "https://pay.google.com/gp/v/save/"
MAX_JWT_LENGTH = 1_800

#: Maximum characters of a title, an address, and similar fields, so that one ticket always fits.
_MAX_TEXT = 60

#: Optional members of a class, in the order in which they are omitted.
_OPTIONAL = ("logo", "venue", "hexBackgroundColor")


@dataclass(frozen=True)
class Link:
    """A link that saves tickets.

    Attributes:
        seats: text of the tickets' seats.
    """

    url: str
    seats: str


class GoogleLinks:
    """Makes links. One object serves all threads.

    Args:
        credentials: the signing credentials.
        style: how the tickets look.
        namespace: the deployment's namespace, so that deployments with one issuer use different ids.
    """

    def __init__(self, credentials: GoogleCredentials, style: Style, namespace: str) -> None:
        self._credentials = credentials
        self._style = style
        self._namespace = namespace
        self._header = _base64(_json({"alg": "RS256", "typ": "JWT"}))
        self._signature_length = len(_base64(bytes(credentials.key.key_size // 8)))

    def links(self, showing: Showing, now: datetime) -> list[Link]:
        """Return the links for all tickets of a booking.

        Args:
            showing: the booking.
            now: an aware datetime.
        """
        whole_class = self._class(showing)
        for left_out in range(len(_OPTIONAL) + 1):
            event_class = {
                name: value for name, value in whole_class.items() if name not in _OPTIONAL[:left_out]
            }
            class_id = event_class["id"] = self._id("class", event_class)
            objects = [(ticket, self._object(showing, ticket, class_id)) for ticket in showing.tickets]
            if all(self._fits(event_class, [each], now) for _, each in objects):
                groups = self._groups(event_class, objects, now)
                return [self._link(event_class, group, now) for group in groups]
        return []

    def _groups(
        self, event_class: dict[str, Any], objects: list[tuple[Ticket, dict[str, Any]]], now: datetime
    ) -> Iterator[list[tuple[Ticket, dict[str, Any]]]]:
        """Divide the tickets among as few links as possible, in order."""
        group: list[tuple[Ticket, dict[str, Any]]] = []
        for ticket, each in objects:
            if group and not self._fits(event_class, [*(other for _, other in group), each], now):
                yield group
                group = []
            group.append((ticket, each))
        yield group

    def _fits(self, event_class: dict[str, Any], objects: list[dict[str, Any]], now: datetime) -> bool:
        signed = self._unsigned(event_class, objects, now)
        return len(signed) + 1 + self._signature_length <= MAX_JWT_LENGTH

    def _link(
        self, event_class: dict[str, Any], group: list[tuple[Ticket, dict[str, Any]]], now: datetime
    ) -> Link:
        signed = self._unsigned(event_class, [each for _, each in group], now)
        signature = self._credentials.key.sign(signed.encode(), PKCS1v15(), SHA256())
        return Link(f"{SAVE_URL}{signed}.{_base64(signature)}", ", ".join(ticket.seat for ticket, _ in group))

    def _unsigned(self, event_class: dict[str, Any], objects: list[dict[str, Any]], now: datetime) -> str:
        claims = {
            "iss": self._credentials.email,
            "aud": "google",
            "typ": "savetowallet",
            "iat": int(now.timestamp()),
            "origins": [],
            "payload": {"eventTicketClasses": [event_class], "eventTicketObjects": objects},
        }
        return f"{self._header}.{_base64(_json(claims))}"

    def _class(self, showing: Showing) -> dict[str, Any]:
        def localized(text: str) -> dict[str, Any]:
            return _localized(showing, text)

        content: dict[str, Any] = {
            "issuerName": one_line(self._style.name, 20),  # recommended by Google
            "reviewStatus": "UNDER_REVIEW",
            "eventName": localized(showing.film),
            "hexBackgroundColor": self._style.color,
        }
        if showing.cinema:
            place = ", ".join(filter(None, (showing.cinema, showing.screen)))
            content["venue"] = {
                "name": localized(place),
                "address": localized(showing.address or showing.cinema),
            }
        if showing.starts and showing.ends:
            content["dateTime"] = {"start": showing.starts.isoformat(), "end": showing.ends.isoformat()}
        if self._style.logo_url:
            content["logo"] = {"sourceUri": {"uri": self._style.logo_url}}
        return content

    def _object(self, showing: Showing, ticket: Ticket, class_id: str) -> dict[str, Any]:
        content: dict[str, Any] = {
            "classId": class_id,
            "state": "ACTIVE",
            "barcode": {"type": "QR_CODE", "value": ticket.code, "alternateText": one_line(ticket.code, 30)},
            "reservationInfo": {"confirmationCode": one_line(showing.booking_id, _MAX_TEXT)},
        }
        if ticket.seat:
            content["seatInfo"] = {"seat": _localized(showing, ticket.seat)}
        if ticket.category:
            content["ticketType"] = _localized(showing, ticket.category)
        if ticket.holder:
            content["ticketHolderName"] = one_line(ticket.holder, _MAX_TEXT)
        number = [showing.booking_id, ticket.number]
        return {"id": self._id("ticket", [number, content]), **content}

    def _id(self, kind: str, content: Any) -> str:
        digest = hashlib.sha256(_json([self._namespace, kind, content])).hexdigest()[:24]
        return f"{self._credentials.issuer_id}.{digest}"


def _localized(showing: Showing, text: str) -> dict[str, Any]:
    language = showing.language.replace("_", "-")
    return {"defaultValue": {"language": language, "value": one_line(text, _MAX_TEXT)}}


def _json(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
