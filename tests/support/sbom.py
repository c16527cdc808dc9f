"""docs/sbom.cdx.json: what deployments install, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json).

python -m tests.support.sbom > docs/sbom.cdx.json
"""

from __future__ import annotations

import json
import re
from configparser import ConfigParser
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tests.support.licenses import license_of

ROOT = Path(__file__).parents[2]

_LOCKED = re.compile(r"^([a-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


def components() -> list[dict[str, Any]]:
    """Return every package of requirements.lock, with its license where this environment has it."""
    return [_component(name, version) for name, version in _LOCKED.findall(_read("requirements.lock"))]


def document() -> dict[str, Any]:
    """Return the SBOM. It has no timestamp, so that the same lock gives the same document."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    name, version = setup["metadata"]["name"], setup["metadata"]["version"]
    application = _component(name, version) | {"type": "application"}
    application["licenses"] = [{"license": {"id": setup["metadata"]["license"]}}]
    found = components()
    content = "\n".join(each["bom-ref"] for each in (application, *found))
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {"component": application},
        "components": found,
        "dependencies": [
            {"ref": application["bom-ref"], "dependsOn": [each["bom-ref"] for each in found]},
        ],
    }


def stored() -> str:
    """Return the text of docs/sbom.cdx.json."""
    return json.dumps(document(), indent=2) + "\n"


def _component(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name.replace('_', '-')}@{version}"
    component = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    expression = license_of(name)
    return component | ({"licenses": [{"expression": expression}]} if expression else {})


def _read(name: str) -> str:
    return (ROOT / name).read_text()


if __name__ == "__main__":
    print(stored(), end="")  # noqa: T201
