import pytest
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from app.messaging.broker import make_broker
from app.messaging.encoder import EventEncoder
from app.settings import Settings

ENCODER = EventEncoder()


def test_a_plain_event_becomes_a_message_to_notify() -> None:
    message = ENCODER.decode(b'{"event_id":"evt_1","event_type":"booking.confirmed","x":null}')
    assert message["actor_name"] == "notify"
    assert message["message_id"] == "evt_1"
    assert message["args"] == [{"event_id": "evt_1", "event_type": "booking.confirmed", "x": None}]


def test_an_event_without_an_id_still_decodes_so_that_it_can_be_refused_with_a_reason() -> None:
    message = ENCODER.decode(b'{"event_type":"booking.confirmed"}')
    assert message["message_id"]


def test_dramatiqs_own_messages_pass_through(settings: Settings) -> None:
    make_broker(settings)
    message: Message[None] = Message("q", "send_email", ("1",), {}, {"retries": 1})
    assert Message.decode(message.encode()) == message


@pytest.mark.parametrize(
    "body",
    [b"", b"hello", b"\xff\xfe", b"[]", b"1", b"null", b"{}", b'{"event_type":7}', b'{"event_id":"e"}'],
)
def test_what_is_neither_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        ENCODER.decode(body)


@pytest.mark.parametrize(
    "body",
    [b'{"event_type":"x","n":' + b"9" * 5_000 + b"}", b'{"event_type":"x","n":' + b"[" * 100_000],
    ids=["digits", "brackets"],
)
def test_json_that_python_gives_up_on_is_a_decode_error_and_does_not_stop_the_consumer(body: bytes) -> None:
    with pytest.raises(DecodeError):
        ENCODER.decode(body)
