"""A rendered mail as transmitted bytes, parsed by another parser."""

import email
import re
from datetime import UTC, datetime
from email.header import decode_header
from email.message import EmailMessage
from email.policy import default

import pytest
from flask_mail import Message
from icalendar import Calendar

from actors.channels.email.compose import OutgoingMail, compose, message_id_for
from actors.channels.email.errors import InvalidAddress
from actors.channels.email.render import Rendered, Renderer
from actors.channels.email.samples import sample

NOW = datetime(2026, 12, 1, 10, 30, tzinfo=UTC)
PARTS = Rendered("Subject", "Preheader", "<p>page</p>\n", "text\n")


def mail(
    rendered: Rendered = PARTS,
    recipient: str = "jane.doe@example.com",
    sender: tuple[str, str] = ("MovieApp", "tickets@example.com"),
) -> OutgoingMail:
    return compose(rendered, recipient=recipient, sender=sender, message_id="<abc@example.com>", date=NOW)


def parsed(outgoing: OutgoingMail) -> EmailMessage:
    message = email.message_from_bytes(outgoing.as_bytes(), policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_a_mail_is_multipart_alternative_with_text_and_html(renderer: Renderer) -> None:
    rendered = renderer.render("booking_confirmation", sample("booking_confirmation", "hostile"))
    message = parsed(mail(rendered))
    both, _ = message.iter_parts()
    assert [part.get_content_type() for part in both.walk()] == [
        "multipart/alternative",
        "text/plain",
        "multipart/related",
        "text/html",
        "image/png",
    ]
    text, page = both.iter_parts()
    html, image = page.iter_parts()
    assert (image["Content-ID"], image.get_content_disposition()) == ("<qr>", "inline")
    assert image.get_content() == rendered.images["qr"]
    assert text.get_content().replace("\r\n", "\n") == rendered.text
    assert html.get_content().replace("\r\n", "\n").strip() == rendered.html.strip()
    assert {part.get_content_charset() for part in (text, html)} == {"utf-8"}


@pytest.mark.parametrize(
    ("template", "method"), [("booking_confirmation", "REQUEST"), ("booking_cancellation", "CANCEL")]
)
def test_a_mail_about_a_showing_has_a_calendar_file(renderer: Renderer, template: str, method: str) -> None:
    message = parsed(mail(renderer.render(template, sample(template))))
    assert message.get_content_type() == "multipart/mixed"
    (calendar,) = message.iter_attachments()
    assert (calendar.get_content_type(), calendar.get_param("method")) == ("text/calendar", method)
    assert calendar.get_filename() == "booking.ics"
    content = calendar.get_content()
    read = Calendar.from_ical(content if isinstance(content, bytes) else content.encode())
    assert read["METHOD"] == method


def test_a_mail_has_the_documented_headers() -> None:
    message = parsed(mail())
    assert (
        dict(message.items()).items()
        >= {
            "From": "MovieApp <tickets@example.com>",
            "To": "jane.doe@example.com",
            "Subject": "Subject",
            "Date": "Tue, 01 Dec 2026 10:30:00 +0000",
            "Message-ID": "<abc@example.com>",
            "Auto-Submitted": "auto-generated",
            "X-Auto-Response-Suppress": "All",
            "MIME-Version": "1.0",
        }.items()
    )
    assert len(message.keys()) == len(set(message.keys()))


def test_it_is_a_flask_mail_message() -> None:
    outgoing = mail()
    assert isinstance(outgoing, Message)
    assert outgoing.subject == "Subject"
    assert outgoing.send_to == {"jane.doe@example.com"}
    assert (outgoing.envelope_from, outgoing.envelope_to) == ("tickets@example.com", "jane.doe@example.com")


def test_transmitted_lines_are_short_ascii_and_end_in_crlf() -> None:
    wire = mail(
        Rendered("Ünïcödé 😀 " * 12, "", "<p>😀</p>" * 9_000, ".\n..\nFrom x\n" + "é" * 5_000)
    ).as_bytes()
    assert wire.isascii()
    assert wire.endswith(b"\r\n")
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    assert max(map(len, wire.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "subject", ["Ünïcödé 😀 " * 12, "a" * 140, "=?utf-8?q?evil?=", "x " * 70, "日本" * 70]
)
def test_every_subject_is_decoded_unchanged(subject: str) -> None:
    assert parsed(mail(Rendered(subject.strip(), "", "", "")))["Subject"] == subject.strip()


@pytest.mark.parametrize("line", ["\r\nBcc: x@example.com", "\nX: y", "\r\n\r\n<script>", "\x00\x0bX: y"])
@pytest.mark.parametrize("template", ["booking_confirmation", "booking_cancellation", "payment_success"])
def test_event_data_cannot_add_a_header(renderer: Renderer, template: str, line: str) -> None:
    event = sample(template)
    event |= {
        name: value + line
        for name, value in event.items()
        if isinstance(value, str) and name not in ("currency", "event_type")
    }
    message = parsed(
        mail(renderer.render(template, event), sender=("MovieApp" + line, "tickets@example.com"))
    )
    assert set(message.keys()) == set(parsed(mail()).keys())
    assert "\n" not in message["Subject"] + message["From"]


@pytest.mark.parametrize(
    "text", ["a\r\nBcc: x@example.com", "=?utf-8?q?a=0D=0ABcc=3A_x?=", "=?utf-8?b?DQpCY2M6IHg=?="]
)
def test_subject_and_name_cannot_add_a_header(text: str) -> None:
    wire = mail(Rendered(text, "", "", ""), sender=(text, "tickets@example.com")).as_bytes()
    assert b"\r\nBcc" not in wire
    assert not re.search("[\r\n]", email.message_from_bytes(wire, policy=default)["Subject"])


@pytest.mark.parametrize(
    ("address", "header"),
    [
        ("jane@straße.example", "jane@xn--strae-oqa.example"),
        ("abc..def@docomo.ne.jp", '"abc..def"@docomo.ne.jp'),
        (" jane.doe@example.com ", "jane.doe@example.com"),
    ],
)
def test_an_address_has_the_same_form_in_header_and_envelope(address: str, header: str) -> None:
    outgoing = mail(recipient=address)
    assert outgoing.envelope_to == header
    assert not outgoing.needs_smtputf8
    assert f"\r\nTo: <{header}>\r\n".encode() in outgoing.as_bytes()


def test_a_non_ascii_address_needs_smtputf8_and_is_sent_in_utf8() -> None:
    outgoing = mail(recipient="用户@例え.jp")
    assert outgoing.needs_smtputf8
    assert outgoing.envelope_to == "用户@xn--r8jz45g.jp"
    assert "\r\nTo: <用户@xn--r8jz45g.jp>\r\n".encode() in outgoing.as_bytes()


@pytest.mark.parametrize("address", ["", "jane", "a@example.com, b@example.com", "Jane <jane@example.com>"])
def test_a_recipient_that_is_not_one_address_is_refused(address: str) -> None:
    with pytest.raises(InvalidAddress, match="must be one email address"):
        mail(recipient=address)


NAMES = [
    "MovieApp",
    "Η Ταινιοθήκη της Ελλάδος Αθήνα",
    "Кинотеатр «Художественный» на Арбате, Москва",
    "東京国立近代美術館フィルムセンター 京橋 シネマテーク",
    "Kino 🎬🍿 " * 8 + "!",
    'A, B: "C" @d \\ e',
    "=?utf-8?q?evil?=",
    "x" * 100,
    "Cinémathèque",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_sender_name_is_decoded_unchanged(name: str) -> None:
    wire = mail(sender=(name, "tickets@example.com")).as_bytes()
    sender = email.message_from_bytes(wire, policy=default)["From"].addresses[0]
    assert sender.addr_spec == "tickets@example.com"
    # Also parsed as other mail programs do, because Python 3.11's newer parser loses spaces between encoded
    # words.
    decoded = "".join(
        part if isinstance(part, str) else part.decode(charset or "ascii")
        for part, charset in decode_header(email.message_from_bytes(wire)["From"].replace("\r\n", ""))
    )
    assert name in decoded.replace('\\"', '"').replace("\\\\", "\\")


@pytest.mark.parametrize("name", NAMES)
def test_encoded_words_and_lines_respect_the_limits_of_rfc_2047(name: str) -> None:
    subject = "🎬🍿 Everything Everywhere — Алиса в Зазеркалье — 千と千尋の神隠し 🎬🍿 x"
    outgoing = mail(Rendered(subject, "", "", ""), sender=(name, "tickets@example.com"))
    head = outgoing.as_bytes().partition(b"\r\n\r\n")[0].decode("ascii")
    for line in head.split("\r\n"):
        words = re.findall(r"=\?[^?]+\?[bqBQ]\?[^?]*\?=", line)
        assert all(len(word) <= 75 for word in words)
        assert not words or len(line) <= 76


def test_the_message_id_is_stable_for_a_delivery_and_differs_between_deliveries() -> None:
    first = message_id_for(b"key", "evt_1", "email", "tickets@example.com")
    assert first == message_id_for(b"key", "evt_1", "email", "tickets@example.com")
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.com>", first)
    assert first != message_id_for(b"key", "evt_2", "email", "tickets@example.com")
    assert first != message_id_for(b"key", "evt_1", "sms", "tickets@example.com")
    assert first != message_id_for(b"other", "evt_1", "email", "tickets@example.com"), "it can't be guessed"
    assert message_id_for(b"key", "a>\r\nX: y", "email", "tickets@kino-süd.example").endswith(
        "@xn--kino-sd-s2a.example>"
    )
