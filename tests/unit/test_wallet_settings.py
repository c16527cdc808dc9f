"""Certificates and keys of wallet passes: invalid ones stop the start, and expiring ones are reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.channels.email.png import png
from app.operations.health import Level, run_probes
from app.settings import Settings, SettingsError, load_settings
from cli.checks import CHECKS
from tests.support.wallets import SERVICE_ACCOUNT, google_settings, make_chain

WALLETS = {"wallets": CHECKS["wallets"]}


def load(tmp_path: Path, **values: str) -> Settings:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, value in values.items():
        (secrets / name).write_text(value)
    return load_settings([], secrets)


def test_wallets_are_off_unless_set(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.apple_wallet is None
    assert settings.google_wallet is None
    assert run_probes(WALLETS, settings) == []


def test_certificates_and_keys_come_from_secret_files(tmp_path: Path) -> None:
    settings = load(tmp_path, **make_chain().settings, **google_settings())
    assert settings.apple_wallet
    assert settings.google_wallet
    assert settings.google_wallet.email == SERVICE_ACCOUNT
    assert "PRIVATE KEY" not in repr(settings)


def test_a_key_may_have_a_password(tmp_path: Path) -> None:
    chain = make_chain(password="hunter2")
    settings = load(tmp_path, **chain.settings, apple_pass_key_password="hunter2")
    assert settings.apple_wallet


OTHER = make_chain(owner="other")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"apple_pass_key": ""}, "APPLE_PASS_KEY: must be set"),
        ({"apple_pass_certificate": ""}, "APPLE_PASS_CERTIFICATE: must be set"),
        ({"apple_pass_certificate": "hunter2"}, "APPLE_PASS_CERTIFICATE: must be a PEM certificate"),
        ({"apple_pass_key": "hunter2"}, "APPLE_PASS_KEY: must contain a PEM private key"),
        ({"apple_pass_key": OTHER.key}, "APPLE_PASS_KEY: must be the private key of APPLE_PASS_CERTIFICATE"),
        (
            {"apple_wwdr_certificate": OTHER.intermediate},
            "APPLE_WWDR_CERTIFICATE: must be the certificate that issued",
        ),
        ({"google_wallet_issuer_id": ""}, "GOOGLE_WALLET_ISSUER_ID: must be set"),
        ({"google_wallet_service_account": ""}, "GOOGLE_WALLET_SERVICE_ACCOUNT: must be the JSON key"),
        (
            {"google_wallet_service_account": json.dumps({"client_email": "a@b", "private_key": "hunter2"})},
            "GOOGLE_WALLET_SERVICE_ACCOUNT: must contain a PEM private key",
        ),
        ({"wallet_logo_file": "/nowhere.png"}, "WALLET_LOGO_FILE: must name a readable file"),
    ],
)
def test_invalid_wallet_settings_stop_the_start(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    values = make_chain().settings | google_settings() | changes
    with pytest.raises(SettingsError) as wrong:
        load(tmp_path, **{name: value for name, value in values.items() if value})
    assert str(wrong.value).startswith(message)
    assert "\n" not in str(wrong.value)
    assert "hunter2" not in str(wrong.value)


@pytest.mark.parametrize(
    ("picture", "message"),
    [(b"GIF89a", "must be a PNG"), (png(["0" * 200] * 200, 2), "must have at most 320 × 100 pixels")],
    ids=["no PNG", "too large"],
)
def test_a_logo_that_wallet_cannot_show_is_refused(tmp_path: Path, picture: bytes, message: str) -> None:
    (tmp_path / "logo").write_bytes(picture)
    with pytest.raises(SettingsError, match=f"WALLET_LOGO_FILE: {message}"):
        load(tmp_path, wallet_logo_file=str(tmp_path / "logo"))


@pytest.mark.parametrize(
    ("lives", "levels"),
    [
        ({}, [Level.OK, Level.OK]),
        ({"days": 10}, [Level.WARNING, Level.OK]),
        ({"intermediate_days": 29}, [Level.OK, Level.WARNING]),
        ({"days": -1}, [Level.BAD, Level.OK]),
    ],
)
def test_check_reports_certificates_that_expire(tmp_path: Path, lives: Any, levels: list[Level]) -> None:
    findings = run_probes(WALLETS, load(tmp_path, **make_chain(**lives).settings))
    assert [finding.level for finding in findings] == levels
    assert [bool(finding.advice) for finding in findings] == [level is not Level.OK for level in levels]
