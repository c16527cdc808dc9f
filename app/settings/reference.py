"""Generate `.env.example` and docs/configuration.md from the settings.

python -m app.settings.reference > .env.example
python -m app.settings.reference page > docs/configuration.md
"""

from __future__ import annotations

import sys
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

_HEADER = """\
# Every setting of movieapp with its default. Copy to .env and uncomment what you change.
# The process's own environment wins over this file. Any setting may be a file instead that is named like
# it (payment_gateway_api_key), in /run/secrets or in the directory that SECRETS_DIR names.
# Made by `python -m app.settings.reference`.
"""


def _shown(default: object) -> str:
    match default:
        case SecretStr():
            return default.get_secret_value()
        case bool():
            return str(int(default))
        case tuple():
            return ",".join(default)
        case None:
            return ""
        case _:
            return str(default)


_PAGE_HEADER = """\
# Configuration

Every setting, from the environment or from `.env` (the environment wins), or from a file that is named like
it in `/run/secrets` or in the directory that `SECRETS_DIR` names. A wrong value stops the start with one line
that names the variable; secrets are never printed. What production refuses is in [security.md](security.md).

Made by `python -m app.settings.reference page`.

| setting | default | meaning |
|---|---|---|
"""


def _described(field: FieldInfo) -> str:
    annotation: object = field.annotation
    choices = f"; {' | '.join(get_args(annotation))}" if get_origin(annotation) is Literal else ""
    return f"{field.description}{choices}"


def env_example() -> str:
    """Return the text of `.env.example`."""
    blocks = [_HEADER]
    for name, field in Settings.model_fields.items():
        blocks.append(f"# {_described(field)}\n#{name.upper()}={_shown(field.default)}\n")
    return "\n".join(blocks)


def configuration_page() -> str:
    """Return the text of docs/configuration.md."""
    rows = []
    for name, field in Settings.model_fields.items():
        shown = _shown(field.default)
        described = _described(field).replace("|", "\\|")
        rows.append(f"| `{name.upper()}` | {f'`{shown}`' if shown else ''} | {described} |\n")
    return _PAGE_HEADER + "".join(rows)


if __name__ == "__main__":
    print(configuration_page() if "page" in sys.argv else env_example(), end="")  # noqa: T201
