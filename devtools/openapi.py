"""Generate docs/openapi.json, the OpenAPI document of this version, for client generators.

python -m devtools.openapi > docs/openapi.json
"""

from __future__ import annotations

import json
from typing import Any

from app import create_app, models
from app.settings import Settings


def openapi() -> dict[str, Any]:
    """Return the OpenAPI document of an API with default settings."""
    settings = Settings(_env_file=None, rabbitmq_url="stub://", payment_gateway_api_key="sk_test_docs")
    try:
        response = create_app(settings).test_client().get("/docs/openapi.json")
    finally:
        models.disconnect()
    document: dict[str, Any] = json.loads(response.data)
    return document


def stored() -> str:
    """Return the text of docs/openapi.json."""
    return json.dumps(openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(stored(), end="")  # noqa: T201
