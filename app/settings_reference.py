"""`.env.example`, made from the settings: `python -m app.settings_reference > .env.example`."""

from __future__ import annotations

from typing import Literal, get_args, get_origin

from pydantic import SecretStr

from app.settings import Settings

_HEADER = """\
# Every setting of movieapp with its default. Copy to .env and uncomment what you change.
# The process's own environment wins over this file. Any setting may be a file instead that is named like
# it (payment_gateway_api_key), in /run/secrets or in the directory that SECRETS_DIR names.
# Made by `python -m app.settings_reference`.
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


def env_example() -> str:
    """The text of `.env.example`."""
    blocks = [_HEADER]
    for name, field in Settings.model_fields.items():
        choices = (
            f"; {' | '.join(get_args(field.annotation))}" if get_origin(field.annotation) is Literal else ""
        )
        blocks.append(f"# {field.description}{choices}\n#{name.upper()}={_shown(field.default)}\n")
    return "\n".join(blocks)


if __name__ == "__main__":
    print(env_example(), end="")  # noqa: T201
