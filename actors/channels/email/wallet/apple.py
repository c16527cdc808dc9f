"""Passes for Apple Wallet: https://developer.apple.com/documentation/walletpasses

A pass is a ZIP archive of pass.json, images, and translations; of a manifest with the SHA-1 of each; and of a
detached PKCS #7 signature of the manifest. A later pass with the same serial number replaces it on the
device.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from actors.channels.email.wallet.icon import icon
from actors.channels.email.wallet.labels import LABELS, SEAT
from actors.channels.email.wallet.showing import Showing, Style, Ticket
from app.languages import Language, Languages

if TYPE_CHECKING:
    from app.settings.wallet import AppleCredentials

_OPTIONS = [PKCS7Options.DetachedSignature, PKCS7Options.Binary, PKCS7Options.NoCapabilities]

#: Time before the show at which the pass appears on the lock screen. An interval may be at most 24 hours.
_RELEVANT_BEFORE = timedelta(hours=2)
_LONGEST_INTERVAL = timedelta(hours=24)

#: Image name → pixels per point.
_ICONS = {"icon.png": 1, "icon@2x.png": 2, "icon@3x.png": 3}

#: The oldest date of an archive, so that the same pass always gives the same bytes.
_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

_WHITE = "rgb(255, 255, 255)"


class ApplePasses:
    """Makes and signs passes. Images and translations are prepared once; one object serves all threads.

    Args:
        credentials: the signing credentials.
        style: how the passes look.
        logo: a PNG; None to show the brand's name.
        languages: languages of the labels.
        namespace: the deployment's namespace, so that deployments with one certificate use different serial
            numbers.
    """

    def __init__(
        self,
        credentials: AppleCredentials,
        style: Style,
        logo: bytes | None,
        languages: Languages,
        namespace: str,
    ) -> None:
        self._credentials = credentials
        self._style = style
        self._namespace = namespace
        self._files = {name: icon(style.color, scale) for name, scale in _ICONS.items()}
        if logo:
            self._files["logo@2x.png"] = logo
        self._has_logo = logo is not None
        for language in languages.all.values():
            folder = language.code.replace("_", "-")
            self._files[f"{folder}.lproj/pass.strings"] = _strings(language)
        self._digests = {name: _sha1(content) for name, content in self._files.items()}

    @property
    def expires(self) -> datetime:
        """Return when a certificate expires, after which no pass can be made."""
        return self._credentials.expires

    def make(self, showing: Showing, ticket: Ticket, *, voided: bool = False) -> bytes:
        """Return a signed pass.

        Args:
            showing: the booking.
            ticket: a ticket of the booking.
            voided: whether the ticket is no longer valid; the pass then has no code.
        """
        content = json.dumps(self._content(showing, ticket, voided), ensure_ascii=False).encode()
        manifest = json.dumps(self._digests | {"pass.json": _sha1(content)}).encode()
        archive = BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as pack:
            files = self._files | {
                "pass.json": content,
                "manifest.json": manifest,
                "signature": self._signature(manifest),
            }
            for name, data in files.items():
                pack.writestr(zipfile.ZipInfo(name, _ZIP_DATE), data, zipfile.ZIP_DEFLATED)
        return archive.getvalue()

    def _signature(self, manifest: bytes) -> bytes:
        """Return the signature, with the signing time as an attribute."""
        return (
            PKCS7SignatureBuilder()
            .set_data(manifest)
            .add_signer(self._credentials.certificate, self._credentials.key, SHA256())
            .add_certificate(self._credentials.intermediate)
            .sign(Encoding.DER, _OPTIONS)
        )

    def _content(self, showing: Showing, ticket: Ticket, voided: bool) -> dict[str, Any]:
        content: dict[str, Any] = {
            "formatVersion": 1,
            "passTypeIdentifier": self._credentials.pass_type_id,
            "teamIdentifier": self._credentials.team_id,
            "serialNumber": self._id(showing, str(ticket.number)),
            "groupingIdentifier": self._id(showing),
            "organizationName": self._style.name,
            "description": "Movie ticket",
            "backgroundColor": _rgb(self._style.color),
            "foregroundColor": _WHITE,
            "labelColor": _WHITE,
            "eventTicket": _fields(showing, ticket, self._style),
        }
        if not self._has_logo:
            content["logoText"] = self._style.name
        if showing.starts and showing.ends:
            content |= _dates(showing.starts, showing.ends)
        if voided:
            return content | {"voided": True}
        encoding = "iso-8859-1" if ticket.code.isascii() else "utf-8"
        barcode = {"format": "PKBarcodeFormatQR", "message": ticket.code, "messageEncoding": encoding}
        return content | {"barcodes": [barcode | {"altText": ticket.code}]}

    def _id(self, showing: Showing, number: str = "") -> str:
        named = f"{self._namespace}\0{showing.booking_id}\0{number}"
        return hashlib.sha256(named.encode()).hexdigest()[:32]


def _fields(showing: Showing, ticket: Ticket, style: Style) -> dict[str, list[dict[str, Any]]]:
    rows: dict[str, tuple[tuple[str, str, str], ...]] = {
        "headerFields": (("seat", SEAT[0], ticket.seat),),
        "primaryFields": (("film", "Movie", showing.film),),
        "secondaryFields": (("showtime", "Showtime", showing.showtime),),
        "auxiliaryFields": (
            ("cinema", "Cinema", showing.cinema),
            ("screen", "Screen", showing.screen),
            ("category", "Ticket type", ticket.category),
        ),
        "backFields": (
            ("booking", "Booking number", showing.booking_id),
            ("holder", "Name", ticket.holder),
            ("address", "Address", showing.address),
            ("contact", "Contact", style.contact),
        ),
    }
    fields: dict[str, list[dict[str, Any]]] = {
        group: [{"key": key, "label": label, "value": value} for key, label, value in row if value]
        for group, row in rows.items()
    }
    if showing.starts:
        # The device formats the time in its language and in the zone of the value, which is the cinema's.
        fields["secondaryFields"][0] |= {
            "value": _w3c(showing.starts),
            "dateStyle": "PKDateStyleMedium",
            "timeStyle": "PKDateStyleShort",
            "ignoresTimeZone": True,
        }
    return fields


def _dates(starts: datetime, ends: datetime) -> dict[str, Any]:
    begin = starts - _RELEVANT_BEFORE
    interval = {"startDate": _w3c(begin), "endDate": _w3c(begin + min(ends - begin, _LONGEST_INTERVAL))}
    # The first is for iOS 17 and earlier, the second for iOS 18 and later.
    return {"relevantDate": _w3c(starts), "relevantDates": [interval], "expirationDate": _w3c(ends)}


def _strings(language: Language) -> bytes:
    """Return pass.strings in one language, with the labels as keys."""

    def translated() -> Iterator[tuple[str, str]]:
        for label in LABELS:
            yield label, language.gettext(label)
        yield SEAT[0], language.ngettext(*SEAT, 1)

    lines = (f"{_quoted(label)} = {_quoted(text)};\n" for label, text in translated())
    return "".join(lines).encode()


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _rgb(color: str) -> str:
    red, green, blue = bytes.fromhex(color.removeprefix("#"))
    return f"rgb({red}, {green}, {blue})"


def _w3c(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _sha1(content: bytes) -> str:
    # Apple's format requires SHA-1; the signature protects the content.
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()
