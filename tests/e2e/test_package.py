"""The wheel contains everything: commands, templates, pages, and the WSGI entry, without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import version
from pathlib import Path

import pytest
import requests

from tests.support.dev import Dev
from tests.support.wait import wait_for

ROOT = Path(__file__).parents[2]


PIP = ("-m", "pip", "--disable-pip-version-check", "--quiet")


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked."""
    directory = tmp_path_factory.mktemp("sdist")
    source = directory / "source"
    made_here = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, source, ignore=made_here)
    script = f"from setuptools.build_meta import build_sdist; print(build_sdist({str(directory)!r}))"
    subprocess.run([sys.executable, "-c", script], cwd=source, check=True, capture_output=True)
    (archive,) = directory.glob("movieapp-*.tar.gz")
    shutil.unpack_archive(archive, directory, filter="data")
    return directory / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(sdist: Path) -> Path:
    """The wheel built from it."""
    build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(sdist.parent), str(sdist)]
    subprocess.run([sys.executable, *PIP, *build], check=True)
    (wheel,) = sdist.parent.glob("movieapp-*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path) -> Path:
    """The unpacked wheel, which a PYTHONPATH finds before the checkout."""
    target = wheel.parent / "site"
    subprocess.run(
        [sys.executable, *PIP, "install", "--no-deps", "--target", str(target), str(wheel)], check=True
    )
    return target


def run(installed: Path, tmp_path: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PAYMENT_GATEWAY_API_KEY": "sk_test_x"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert (installed / "bin" / "movieapp").exists()
    assert "worker" in run(installed, tmp_path, "-m", "cli.main", "--help")
    assert run(installed, tmp_path, "-c", "import wsgi; print(wsgi.__file__)").startswith(str(installed))
    run(installed, tmp_path, "-m", "cli.main", "templates", "gallery", "--output", "gallery")
    assert "payment_success.full.en.html" in (tmp_path / "gallery" / "index.html").read_text()


def test_every_template_renders_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    script = """
import email_templates
from actors.channels.email.render import TEMPLATES, Brand, Renderer
from actors.channels.email.samples import sample, variants
renderer = Renderer(Brand(name="MovieApp", address="t@example.com"), "USD")
for template in TEMPLATES:
    assert "full" in variants(template)
    for variant in variants(template):
        rendered = renderer.render(template, sample(template, variant))
        assert rendered.html and rendered.text, (template, variant)
print(email_templates.__file__)
"""
    assert run(installed, tmp_path, "-c", script).startswith(str(installed))


def test_the_whole_system_runs_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    subprocess.run([python, *PIP, "install", f"{wheel}[dev]"], check=True, timeout=300)
    movieapp = tmp_path / "venv/bin/movieapp"
    output = subprocess.run([movieapp, "--version"], capture_output=True, text=True, check=True, timeout=60)
    assert version("movieapp") in output.stdout

    (tmp_path / "empty").mkdir()
    dev = Dev(tmp_path / "empty", movieapp=[str(movieapp)])
    try:
        dev.wait_until_healthy()
        order = {"user_id": "u", "booking_id": "B", "amount": 25.5, "payment_method": "credit_card"}
        url = f"http://localhost:{dev.port}"
        address = {"user_email": "jane.doe@example.com"}
        paid = requests.post(f"{url}/payment/process", json=order | address, timeout=20).json()
        assert paid["status"] == "success"
        wait_for(dev.mails, 20, "no mail came")
        assert requests.get(f"{url}/dashboard", timeout=20).ok
        assert requests.get(f"{url}/docs/openapi.json", timeout=20).json()["info"]["version"] == version(
            "movieapp"
        )
        dev.stop()
    finally:
        dev.close()
