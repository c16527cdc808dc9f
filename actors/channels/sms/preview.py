"""Write an SMS for operators, without sending it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actors.channels.sms.gsm7 import segments
from actors.channels.sms.texts import Texts
from actors.errors import PermanentFailure
from app.channels import NotRendered, Preview
from app.settings import Settings


def preview(settings: Settings, _template: str, event: Mapping[str, Any]) -> Preview:
    """Write the SMS of a stored event.

    Raises:
        NotRendered: the event lacks a required field.
    """
    texts = Texts(settings.from_name, settings.default_currency, settings.default_timezone)
    try:
        text = texts.write(event["event_type"], event)
    except PermanentFailure as error:
        raise NotRendered(str(error)) from None
    return Preview(text, segments=segments(text))
