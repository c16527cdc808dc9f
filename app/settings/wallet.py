"""Parse and check the certificates and keys that sign wallet passes.

Functions import `cryptography` (the extra `wallet`), so nothing loads it without these settings.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.x509 import Certificate

#: Maximum size of a logo: the points that Wallet reserves, at two pixels each.
_LOGO_WIDTH, _LOGO_HEIGHT, _LOGO_BYTES = 320, 100, 30_000

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class AppleCredentials:
    """Credentials for Apple Wallet passes.

    Attributes:
        certificate: certificate of the pass type, from Apple's developer account.
        intermediate: Apple's issuing certificate (Worldwide Developer Relations).
        key: private key of `certificate`.
        pass_type_id: for example `pass.com.example.tickets`; from the certificate, like `team_id`.
    """

    certificate: Certificate
    intermediate: Certificate
    key: RSAPrivateKey
    pass_type_id: str
    team_id: str

    @property
    def expires(self) -> datetime:
        """Return when the first of the two certificates expires."""
        return min(self.certificate.not_valid_after_utc, self.intermediate.not_valid_after_utc)


@dataclass(frozen=True)
class GoogleCredentials:
    """Credentials for Google Wallet's save links.

    Attributes:
        issuer_id: id of the account in the Google Wallet console.
        email: email of the service account that may issue passes.
        key: private key of the service account.
    """

    issuer_id: str
    email: str
    key: RSAPrivateKey


def apple_credentials(certificate: str, key: str, password: str, intermediate: str) -> AppleCredentials:
    """Parse the credentials for Apple Wallet passes, all in PEM.

    Args:
        certificate: certificate of the pass type.
        key: its private key.
        password: password of the key; "" if it has none.
        intermediate: the certificate that issued `certificate`.

    Raises:
        ValueError: something is missing, unreadable, or does not match. Names the setting.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509.oid import NameOID

    required = {
        "APPLE_PASS_CERTIFICATE": certificate,
        "APPLE_WWDR_CERTIFICATE": intermediate,
        "APPLE_PASS_KEY": key,
    }
    for name, value in required.items():
        if not value:
            raise ValueError(f"{name}: must be set when any other Apple Wallet setting is set")
    ours = _certificate("APPLE_PASS_CERTIFICATE", certificate)
    wwdr = _certificate("APPLE_WWDR_CERTIFICATE", intermediate)
    private = _rsa_key("APPLE_PASS_KEY", key, password)
    if private.public_key() != ours.public_key():
        raise ValueError("APPLE_PASS_KEY: must be the private key of APPLE_PASS_CERTIFICATE")
    try:
        ours.verify_directly_issued_by(wwdr)
    except (ValueError, TypeError, InvalidSignature):
        issuer = ours.issuer.rfc4514_string()
        raise ValueError(
            f"APPLE_WWDR_CERTIFICATE: must be the certificate that issued APPLE_PASS_CERTIFICATE ({issuer})"
        ) from None
    names = {each.oid: str(each.value) for each in ours.subject}
    pass_type_id, team_id = names.get(NameOID.USER_ID), names.get(NameOID.ORGANIZATIONAL_UNIT_NAME)
    if not pass_type_id or not team_id:
        raise ValueError(
            "APPLE_PASS_CERTIFICATE: must be a Pass Type ID certificate, whose subject has the pass type ID "
            "as UID and the team ID as OU"
        )
    return AppleCredentials(ours, wwdr, private, pass_type_id, team_id)


def google_credentials(issuer_id: str, service_account: str) -> GoogleCredentials:
    """Parse the credentials for Google Wallet's save links.

    Args:
        issuer_id: digits.
        service_account: a service account's JSON key from Google Cloud.

    Raises:
        ValueError: one is missing or unreadable. Names the setting.
    """
    if not issuer_id:
        raise ValueError("GOOGLE_WALLET_ISSUER_ID: must be set when GOOGLE_WALLET_SERVICE_ACCOUNT is set")
    name = "GOOGLE_WALLET_SERVICE_ACCOUNT"
    try:
        account = json.loads(service_account)
        email, key = account["client_email"], account["private_key"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{name}: must be the JSON key of a service account") from None
    return GoogleCredentials(issuer_id, str(email), _rsa_key(name, str(key), ""))


def read_logo(path: Path) -> bytes:
    """Return the PNG at `path`.

    Raises:
        ValueError: no such file, not a PNG, or too large.
    """
    try:
        png = path.read_bytes()
    except OSError:
        raise ValueError("WALLET_LOGO_FILE: must name a readable file") from None
    if not png.startswith(_PNG_SIGNATURE) or len(png) < 24:
        raise ValueError("WALLET_LOGO_FILE: must be a PNG image")
    width, height = struct.unpack(">2I", png[16:24])
    if width > _LOGO_WIDTH or height > _LOGO_HEIGHT or len(png) > _LOGO_BYTES:
        raise ValueError(
            f"WALLET_LOGO_FILE: must have at most {_LOGO_WIDTH} × {_LOGO_HEIGHT} pixels "
            f"and {_LOGO_BYTES} bytes"
        )
    return png


def _certificate(name: str, pem: str) -> Certificate:
    from cryptography.x509 import load_pem_x509_certificate

    try:
        return load_pem_x509_certificate(pem.encode())
    except ValueError:
        raise ValueError(f"{name}: must be a PEM certificate (-----BEGIN CERTIFICATE-----)") from None


def _rsa_key(name: str, pem: str, password: str) -> RSAPrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), password.encode() or None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        form = "that APPLE_PASS_KEY_PASSWORD decrypts" if password else "without a password"
        raise ValueError(f"{name}: must contain a PEM private key {form}") from None
    if not isinstance(key, RSAPrivateKey):
        raise ValueError(f"{name}: must contain an RSA key")  # noqa: TRY004 - an error of the setting
    return key
