"""Test certificates and keys for wallet passes, as Apple and Google issue them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from cryptography.x509.oid import NameOID

PASS_TYPE_ID, TEAM_ID = "pass.com.example.movieapp.tickets", "A1B2C3D4E5"
ISSUER_ID = "3388000000012345678"
SERVICE_ACCOUNT = "wallet@movieapp-123456.iam.gserviceaccount.com"


@dataclass(frozen=True)
class Chain:
    """The certificates and key of a pass type's owner, in PEM.

    Attributes:
        root: Apple's root, which devices trust.
    """

    root: str
    intermediate: str
    certificate: str
    key: str

    @property
    def settings(self) -> dict[str, str]:
        """Return the settings that enable Apple Wallet passes."""
        return {
            "apple_pass_certificate": self.certificate,
            "apple_pass_key": self.key,
            "apple_wwdr_certificate": self.intermediate,
        }


@lru_cache
def make_chain(
    days: int = 300, intermediate_days: int = 900, password: str = "", owner: str = "movieapp"
) -> Chain:
    """Create a root, an intermediate, and a pass type's certificate.

    Args:
        days: validity of the certificate from now on; negative: it has expired.
        intermediate_days: the same for the intermediate.
        password: of the key.
        owner: each owner has different keys.
    """
    root_key, wwdr_key, key = (_key(f"{owner} {role}") for role in ("root", "wwdr", "pass"))
    root = _name("Apple Root CA")
    wwdr = _name("Apple Worldwide Developer Relations Certification Authority", unit="G4")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.USER_ID, PASS_TYPE_ID),
            x509.NameAttribute(NameOID.COMMON_NAME, f"Pass Type ID: {PASS_TYPE_ID}"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, TEAM_ID),
        ]
    )
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    return Chain(
        _pem(_issue(root, root_key, root, root_key, 4_000, authority=True)),
        _pem(_issue(wwdr, wwdr_key, root, root_key, intermediate_days, authority=True)),
        _pem(_issue(subject, key, wwdr, wwdr_key, days, authority=False)),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode(),
    )


@lru_cache
def google_settings() -> dict[str, str]:
    """Return the settings that enable Google Wallet links."""
    key = _key("google").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "client_email": SERVICE_ACCOUNT, "private_key": key}
    return {
        "google_wallet_issuer_id": ISSUER_ID,
        "google_wallet_service_account": json.dumps(account),
    }


def public_pem(key: RSAPrivateKey) -> bytes:
    """Return the public half of a key, as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@lru_cache
def _key(_role: str) -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


def _name(common: str, unit: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if unit:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return x509.Name(attributes)


def _issue(
    subject: x509.Name,
    key: RSAPrivateKey,
    issuer: x509.Name,
    issuer_key: RSAPrivateKey,
    days: int,
    *,
    authority: bool,
) -> x509.Certificate:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .sign(issuer_key, SHA256())
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()
