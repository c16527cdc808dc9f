"""The Dockerfile, checked without a container engine."""

from __future__ import annotations

import json
import re
import tomllib
from configparser import ConfigParser

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from tests.support.compose import ROOT, read_compose

TEXT = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
#: Each instruction and its arguments, in order.
INSTRUCTIONS = [
    tuple(line.split(maxsplit=1)) for line in TEXT.splitlines() if line and not line.startswith("#")
]
#: Files of the checkout in the build context.
SENT = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)


def arguments(instruction: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == instruction]


def test_copied_files_exist_and_include_all_that_the_wheel_needs() -> None:
    copied = [source for rest in arguments("COPY") if "--from" not in rest for source in rest.split()[:-1]]
    assert copied[-1] == "."
    assert set(copied[:-1]) <= set(SENT), "what is copied is not left out by .dockerignore"
    for path in SENT:
        assert (ROOT / path).exists(), path
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = {line.split(".")[0] for line in setup["options.packages.find"]["include"].split()}
    modules = {f"{name}.py" for name in setup["options"]["py_modules"].split()}
    assert packages | modules <= set(SENT)
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]


def test_both_stages_have_a_supported_python() -> None:
    [version] = {re.fullmatch(r"python:([\d.]+)-slim( AS build)?", image)[1] for image in arguments("FROM")}
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert f"{version}.0" in SpecifierSet(setup["options"]["python_requires"])


def test_only_locked_packages_are_installed() -> None:
    installs = [rest for rest in arguments("RUN") if "pip install" in rest]
    application, tools, wheel = installs
    for install, lock in ((application, "requirements.lock"), (tools, "requirements.build.lock")):
        assert "--require-hashes" in install
        assert f"-r {lock}" in install
    assert "pip wheel --no-deps --no-build-isolation" in wheel, "nothing is fetched to build it"
    assert "pip install --no-deps --no-index" in wheel


def test_the_lock_pins_every_requirement_by_version_and_hash() -> None:
    locked: dict[str, str] = {}
    for block in re.split(r"\n(?=[a-z])", (ROOT / "requirements.lock").read_text()):
        if found := re.match(r"([a-z0-9.-]+)==([^ ;\\]+)", block):
            locked[found[1]] = found[2]
            assert "--hash=sha256:" in block, found[1]
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    extras = setup["options.extras_require"]
    deployed = [
        setup["options"]["install_requires"],
        *(extras[name] for name in ("sms", "wallet", "tracing")),
    ]
    lines = "\n".join(deployed).splitlines()
    for requirement in (Requirement(line) for line in lines if line and not line.startswith("#")):
        assert requirement.specifier.contains(
            locked[canonicalize_name(requirement.name)], prereleases=True
        ), requirement


def test_the_image_is_not_root_and_runs_the_commands_of_compose() -> None:
    users = arguments("USER")
    assert users
    assert int(users[-1]) >= 1000
    service = read_compose()["services"]["payment-service"]
    assert " ".join(json.loads(arguments("CMD")[0])) == service["command"]
    check = re.search(r"CMD (\[.*\])", arguments("HEALTHCHECK")[0])
    assert check
    assert ["CMD", *json.loads(check[1])] == service["healthcheck"]["test"]
