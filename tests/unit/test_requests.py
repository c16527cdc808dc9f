"""Requests refused before anything is recorded: card numbers anywhere, and ids that look like others."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Any

import pytest
from marshmallow import ValidationError

from app import create_app, models
from app.api.requests import ID_PATTERN, Id
from app.api.schemas import CancelRequest, PaymentRequest, RefundRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flask.testing import FlaskClient

    from app.settings import Settings

_OUR_REQUEST_ID = re.compile(r"req_[0-9a-f]{32}\b")
CARD = "5105 1051 0510 5100"
PAYMENT: dict[str, Any] = {
    "user_id": "user_1",
    "booking_id": "BOOK-1",
    "amount": 25.5,
    "payment_method": "credit_card",
}
REFUND: dict[str, Any] = {
    "original_transaction_id": "TXN-1",
    "booking_id": "BOOK-1",
    "user_id": "user_1",
    "reason": "Cancelled",
}
CANCEL: dict[str, Any] = {"transaction_id": "TXN-1", "booking_id": "BOOK-1", "user_id": "user_1"}


@pytest.fixture
def client(settings: Settings) -> Iterator[FlaskClient]:
    yield create_app(settings).test_client()
    models.disconnect()


def refused(response: Any) -> dict[str, Any]:
    """Return the fields that a 422 names."""
    assert response.status_code == 422, response.text
    # A generated request id is random hexadecimal and may contain any four digits.
    assert "5105" not in _OUR_REQUEST_ID.sub("", f"{response.text} {response.headers}")
    error = response.json["error"]
    assert (error["code"], error["message"]) == (
        "VALIDATION_ERROR",
        "The request is invalid. See details.fields.",
    )
    fields: dict[str, Any] = error["details"]["fields"]
    return fields


NO_CARD = ["Must not contain a card number."]
NO_CARD_IN_NAMES = ["Names of fields must not contain a card number."]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"user_name": f"{CARD} 12/30 123"}, {"user_name": NO_CARD}),
        ({"user_id": "5105105105105100"}, {"user_id": NO_CARD}),
        ({"booking_id": f"seat 4 {CARD}"}, {"booking_id": NO_CARD}),
        ({"user_email": "5105105105105100@example.com"}, {"user_email": NO_CARD}),
        ({"user_phone": "+378282246310005"}, {"user_phone": NO_CARD}),
        ({"locale": "5105.1051.0510.5100"}, {"locale": NO_CARD}),
        ({"currency": "5105105105105100"}, {"currency": NO_CARD}),
        ({"payment_token": "pm_5105105105105100"}, {"payment_token": NO_CARD}),
        ({"return_url": "https://shop.example.com/?c=5105%201051%200510%205100"}, {"return_url": NO_CARD}),
        ({"metadata": {"note": f"card {CARD}"}}, {"metadata": {"note": NO_CARD}}),
        ({"metadata": {"5105-1051-0510-5100": "card"}}, {"metadata": NO_CARD_IN_NAMES}),
        ({"paypal_details": {"payment_id": CARD}}, {"paypal_details": {"payment_id": NO_CARD}}),
        ({"card_details": {"cardholder_name": CARD}}, {"card_details": {"cardholder_name": NO_CARD}}),
        ({"card_details": {"cvv": "5105105105105100"}}, {"card_details": {"cvv": NO_CARD}}),
        ({"card_details": [CARD]}, {"card_details": {"0": NO_CARD}}),
        ({"amount": 5105105105105100}, {"amount": NO_CARD}),
        ({"unknown": {"deep": [{"er": CARD}]}}, {"unknown": {"deep": {"0": {"er": NO_CARD}}}}),
        ({CARD: 1}, {"body": NO_CARD_IN_NAMES}),
        ({"user_id": CARD, "user_name": CARD}, {"user_id": NO_CARD, "user_name": NO_CARD}),
    ],
)
def test_a_card_number_in_any_field_is_refused_and_the_field_is_named(
    client: FlaskClient, fields: dict[str, Any], named: dict[str, Any]
) -> None:
    assert refused(client.post("/payment/process", json=PAYMENT | fields)) == named


def test_a_card_number_in_a_refund_is_refused(client: FlaskClient) -> None:
    for name in REFUND:
        assert refused(client.post("/payment/refund", json=REFUND | {name: CARD})) == {name: NO_CARD}
    response = client.post("/payment/refund", json=REFUND | {"card_details": {"card_number": CARD}})
    assert refused(response) == {"card_details": ["Unknown field."]}


@pytest.mark.parametrize("header", ["Idempotency-Key", "X-Request-ID"])
def test_a_card_number_in_a_stored_header_is_refused(client: FlaskClient, header: str) -> None:
    for text in ("5105105105105100", "5105-1051-0510-5100", f"row 7, {CARD}"):
        response = client.post("/payment/process", json=PAYMENT, headers={header: text})
        assert refused(response) == {header: NO_CARD}


@pytest.mark.parametrize(
    ("path", "place"),
    [
        ("/payment/status/5105105105105100", "path"),
        ("/payment/booking/5105%201051%200510%205100", "path"),
        ("/payment/booking/BOOK-1?card=5105+1051+0510+5100", "query"),
        ("/payment/methods?5105105105105100", "query"),
    ],
)
def test_a_card_number_in_a_url_is_refused(client: FlaskClient, path: str, place: str) -> None:
    assert refused(client.get(path)) == {place: NO_CARD}


def test_a_request_id_with_a_card_number_is_replaced_everywhere(client: FlaskClient) -> None:
    response = client.get("/health", headers={"X-Request-ID": "5105105105105100"})
    assert response.headers["X-Request-ID"].startswith("req_")


BLANK = "Must not begin or end with whitespace."
INVISIBLE = "Must not contain control, format, or other invisible characters."
CONTROL = "Must not contain control characters or unpaired surrogates."


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" BOOK-1", BLANK),
        ("BOOK-1 ", BLANK),
        ("BOOK-1\N{NO-BREAK SPACE}", BLANK),
        ("\N{IDEOGRAPHIC SPACE}BOOK-1", BLANK),
        (" ", BLANK),
        ("BOOK-1\n", CONTROL),
        ("BOOK\x00-1", CONTROL),
        ("BOOK\x7f-1", CONTROL),
        ("BOOK\x9b-1", CONTROL),
        ("BOOK\N{ZERO WIDTH SPACE}-1", INVISIBLE),
        ("BOOK-1\N{ZERO WIDTH JOINER}", INVISIBLE),
        ("\N{RIGHT-TO-LEFT OVERRIDE}1-KOOB", INVISIBLE),
        ("BOOK\N{LEFT-TO-RIGHT ISOLATE}-1", INVISIBLE),
        ("BOOK\N{SOFT HYPHEN}-1", INVISIBLE),
        ("\N{ZERO WIDTH NO-BREAK SPACE}BOOK-1", INVISIBLE),
        ("BOOK-1\N{HANGUL FILLER}", INVISIBLE),
        ("BOOK-1\N{VARIATION SELECTOR-16}", INVISIBLE),
        ("BOOK-1\N{TAG LATIN SMALL LETTER A}", INVISIBLE),
        ("BOOK-1\N{LINE SEPARATOR}2", INVISIBLE),
    ],
)
def test_an_id_with_invisible_characters_is_refused(client: FlaskClient, text: str, reason: str) -> None:
    for name in ("booking_id", "user_id"):
        response = client.post("/payment/process", json=PAYMENT | {name: text})
        assert refused(response) == {name: [reason]}
    response = client.post("/payment/refund", json=REFUND | {"original_transaction_id": text})
    assert refused(response) == {"original_transaction_id": [reason]}
    for name in CANCEL:
        assert refused(client.post("/payment/cancel", json=CANCEL | {name: text})) == {name: [reason]}


@pytest.mark.parametrize(
    "reason", [" ", "\N{LINE SEPARATOR}", " \N{RIGHT-TO-LEFT OVERRIDE}\N{ZERO WIDTH NO-BREAK SPACE}"]
)
def test_a_blank_refund_reason_is_refused(client: FlaskClient, reason: str) -> None:
    response = client.post("/payment/refund", json=REFUND | {"reason": reason})
    assert refused(response) == {"reason": ["Must not be blank."]}


def load(text: str) -> str:
    loaded: str = Id(metadata={}).deserialize(text)
    return loaded


def test_composed_and_decomposed_ids_are_equal() -> None:
    composed = "BOOK-Amélie"
    assert load(unicodedata.normalize("NFD", composed)) == load(composed) == composed


def test_payments_refunds_and_cancellations_normalize_the_same_ids() -> None:
    ids = dict.fromkeys(("user_id", "booking_id"), unicodedata.normalize("NFD", "Amélie"))
    bodies = {PaymentRequest: PAYMENT | {"amount": 25}, RefundRequest: REFUND, CancelRequest: CANCEL}
    for schema, body in bodies.items():
        order = schema().load(body | ids)
        assert (order.user_id, order.booking_id) == ("Amélie", "Amélie")


@pytest.mark.parametrize("text", ["BOOK 1", "予約-1", "حجز-1", "🎬-1", "a", "BOOK-1/2?x=y#z"])
def test_ids_in_any_script_are_accepted(text: str) -> None:
    assert load(text) == text


@pytest.mark.parametrize("form", ["{}", "{}x", "x{}", "x{}x"])
def test_the_documented_pattern_matches_the_validation(form: str) -> None:
    pattern = re.compile(ID_PATTERN)

    def accepts(check: Callable[[str], object], text: str) -> bool:
        try:
            return bool(check(text))
        except ValidationError:
            return False

    texts = [form.format(chr(code)) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    assert [text for text in texts if accepts(load, text) != accepts(pattern.fullmatch, text)] == []
