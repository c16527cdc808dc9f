"""The wheel holds everything: commands, templates and the WSGI entry, away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked where a PYTHONPATH finds it before the checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    source = directory / "source"
    made_here = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
    shutil.copytree(ROOT, source, ignore=made_here)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), str(source)]
    subprocess.run(build, check=True)
    (wheel,) = directory.glob("movieapp-*.whl")
    target = directory / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    return target


def run(installed: Path, tmp_path: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "PAYMENT_GATEWAY_API_KEY": "sk_test_x"}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
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
from app.events.catalog import CATALOG
from actors.mail.render import Brand, Renderer
from actors.mail.samples import sample, variants
renderer = Renderer(Brand(name="MovieApp", address="t@example.com"), "USD")
for template in sorted({kind.template for kind in CATALOG.values()}):
    assert "full" in variants(template)
    for variant in variants(template):
        rendered = renderer.render(template, sample(template, variant))
        assert rendered.html and rendered.text, (template, variant)
print(email_templates.__file__)
"""
    assert run(installed, tmp_path, "-c", script).startswith(str(installed))
