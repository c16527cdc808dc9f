import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from app.telemetry import logs
from app.telemetry.redact import redact, redact_text

CARD = "4242424242424242"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"card {CARD}", "card [card number]"),
        ("card 4242 4242 4242 4242, please", "card [card number], please"),
        ("card 3782-822463-10005", "card [card number]"),
        (f'{{"number":"{CARD}"}}', '{"number":"[card number]"}'),
        ("sk_test_abc123 and whsec_abc", "[key] and [key]"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer [key]"),
        ("amqp://user:hunter2@host/", "amqp://user:[password]@host/"),
        ("pi_1_secret_2", "[client secret]"),
    ],
)
def test_card_numbers_and_secrets_are_masked_in_text(text: str, clean: str) -> None:
    assert redact_text(text) == clean


@pytest.mark.parametrize(
    "text", ["evt_booking_BOOK-1_1734353677", "1734353677123", "4242424242424241", "2026-12-01"]
)
def test_other_numbers_are_not_masked(text: str) -> None:
    assert redact_text(text) == text


def test_values_of_secret_keys_are_always_masked() -> None:
    event = {"card": {"cvv": "123", "card_number": CARD, "name": "Jane"}, "list": [{"api_key": "x"}]}
    assert redact(event) == {
        "card": {"cvv": "[redacted]", "card_number": "[redacted]", "name": "Jane"},
        "list": [{"api_key": "[redacted]"}],
    }


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    root = logging.getLogger()
    before = root.handlers, root.level
    logs.configure("payment-service", "INFO", stream)
    yield stream
    root.handlers, root.level = before


def test_a_log_line_is_json_with_service_level_message_and_ids(lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="req_1"):
        logs.get_logger("app.test").info("payment processed", transaction_id="TXN-1", amount="25.50")
    line = json.loads(lines.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "app.test",
        "service": "payment-service",
        "message": "payment processed",
        "request_id": "req_1",
        "transaction_id": "TXN-1",
        "amount": "25.50",
    }


def test_messages_of_libraries_and_tracebacks_are_masked_too(lines: io.StringIO) -> None:
    try:
        raise ValueError(f"bad card {CARD}")
    except ValueError:
        logging.getLogger("some.library").exception("while charging %s", CARD)
    line = json.loads(lines.getvalue())
    assert line["message"] == "while charging [card number]"
    assert "bad card [card number]" in line["exception"]
    assert CARD not in lines.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "\x1b[31mred",
        "\x7f",
        "\x9b1m",
        "\x85",
        "\u202ebackwards",
        "\u2066",
        "\u200b",
        "\u2028",
        "\ufeff",
        "\ud800",
    ],
)
def test_control_characters_in_logs_are_escaped(lines: io.StringIO, text: str) -> None:
    logs.get_logger("app.test").warning("refused", reason=f"a{text}b", **{f"key{text}": 1})
    written = lines.getvalue()
    assert written.rstrip("\n").isprintable()
    assert json.loads(written)["reason"] == f"a{text}b"


def test_words_of_any_script_stay_readable(lines: io.StringIO) -> None:
    logs.get_logger("app.test").warning("refused", reason="Amélie 李小龍 حجز 🎬")
    assert "Amélie 李小龍 حجز 🎬" in lines.getvalue()


def test_card_numbers_in_names_and_integers_are_masked() -> None:
    assert redact({"5105-1051-0510-5100": 5105105105105100, "count": 5}) == {
        "[card number]": "[card number]",
        "count": 5,
    }
