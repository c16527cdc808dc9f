"""Text of untrusted senders never becomes a link in mails and SMS."""

from __future__ import annotations

import re
from typing import Any

import pytest

from actors.channels.email.render import Renderer
from actors.channels.sms.texts import Texts
from app.events.samples import sample

#: Text that mail programs and phones turn into a link.
AUTOLINKED = re.compile(r"(?i)evil[.\u3002\uff0e\uff61]example|www[.\u3002]\w|\w://evil")


def mail(renderer: Renderer, template: str, event: dict[str, Any]) -> str:
    rendered = renderer.render(template, event)
    return "\n".join((rendered.subject, rendered.text, re.sub(r"<[^>]*>", "", rendered.html)))


@pytest.mark.parametrize(
    "name",
    [
        "Win $1000 at http://evil.example/x",
        "evil.example",
        "WWW.EVIL.EXAMPLE",
        "evil。example",
        "Jane (see evil.example/win)",
        "jane@evil.example",
    ],
)
def test_a_greeting_omits_text_that_looks_like_a_link(renderer: Renderer, name: str) -> None:
    shown = mail(renderer, "payment_failed", sample("payment.failed") | {"user_name": name})
    assert "Hello,\n" in shown
    assert not re.search(r"(?i)evil|win|\$1000", shown)


@pytest.mark.parametrize("name", ["Jane Doe", "Dr. Müller", "J. R. R. Tolkien", "St. John-Smythe", "李小龍"])
def test_a_greeting_keeps_names(renderer: Renderer, name: str) -> None:
    shown = mail(renderer, "payment_failed", sample("payment.failed") | {"user_name": name})
    assert f"Hello {name}," in shown


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Dune: see http://evil.example/x", "Dune: see http: //evil. example/x"),
        ("www.evil.example presents", "www. evil. example presents"),
        ("evil。example", "evil。 example"),
        ("Mr.Robot", "Mr. Robot"),
        ("S.W.A.T.", "S.W.A.T."),
        ("2.5 Dimensional Seduction", "2.5 Dimensional Seduction"),
    ],
)
def test_a_title_is_never_a_link(renderer: Renderer, title: str, shown: str) -> None:
    event = sample("booking.confirmed") | {"movie_title": title}
    output = mail(renderer, "booking_confirmation", event)
    assert shown in output
    assert not AUTOLINKED.search(output)


def test_an_sms_contains_no_link_from_event_text() -> None:
    event = sample("booking.confirmed") | {"movie_title": "see http://evil.example/x"}
    output = Texts("MovieApp", "USD").write("booking.confirmed", event)
    assert "evil" in output
    assert not AUTOLINKED.search(output)
