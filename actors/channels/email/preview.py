"""Render an email for operators, without sending it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from actors.channels.email.channel import renderer_of
from actors.channels.email.errors import RenderError
from actors.channels.email.render import Renderer
from app.channels import NotRendered, Preview
from app.settings import Settings


def preview(settings: Settings, template: str, event: Mapping[str, Any]) -> Preview:
    """Render an email from its stored event.

    Raises:
        NotRendered: the event lacks a required field.
    """
    try:
        rendered = _renderer(settings).render(template, event)
    except RenderError as error:
        raise NotRendered(str(error)) from None
    html = rendered.html
    for name, png in rendered.images.items():
        html = html.replace(f"cid:{name}", f"data:image/png;base64,{b64encode(png).decode()}")
    return Preview(rendered.text, rendered.subject, html)


@lru_cache(maxsize=1)
def _renderer(settings: Settings) -> Renderer:
    return renderer_of(settings)
