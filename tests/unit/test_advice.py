"""Advice on dead letters, from the errors that the project itself raises."""

from __future__ import annotations

import pytest

from actors.channels.email.errors import TemplateVariableMissing
from actors.channels.email.replies import Phase, Reply, failure
from actors.deliveries import ConflictingEvent, _compare
from app.events.catalog import check_event
from app.events.decode import InvalidEvent
from app.events.samples import sample
from app.messaging.wire import Origin, Refused, accept
from app.operations.advice import advice_on
from app.operations.dead_letters import UNRECORDED
from tests.support.hostile import CORPUS

EVENT = sample("booking.confirmed")


@pytest.mark.parametrize("body", CORPUS.values(), ids=CORPUS)
def test_the_publisher_corrects_an_event_that_is_refused(body: bytes) -> None:
    with pytest.raises((Refused, InvalidEvent)) as refused:
        (event,) = accept("notification.booking_events", body, Origin("events", "booking.confirmed"))["args"]
        check_event(event)
    assert advice_on(str(refused.value)).startswith("The event is invalid.")


def test_the_publisher_decides_between_two_events_with_one_id() -> None:
    with pytest.raises(ConflictingEvent) as conflict:
        _compare(EVENT, EVENT | {"seats": ["Z9"]})
    assert advice_on(str(conflict.value)).startswith("Two events share an event_id.")


@pytest.mark.parametrize(
    ("reply", "advice"),
    [
        (Reply(535, "5.7.8 Authentication credentials invalid"), "Fix SMTP_USERNAME"),
        (Reply(550, "5.1.1 No such user here"), "The address is wrong."),
        (Reply(550, "5.7.1 Message rejected as spam"), "The server refuses the sender."),
        (Reply(552, "5.2.2 Mailbox full"), "The mailbox is full."),
    ],
    ids=lambda found: str(found)[:20],
)
def test_a_mail_servers_reply_decides_what_to_do(reply: Reply, advice: str) -> None:
    phase = Phase.AUTH if reply.code == 535 else Phase.RCPT
    assert advice_on(str(failure(phase, reply))).startswith(advice)


def test_a_message_that_may_have_arrived_is_never_simply_replayed() -> None:
    error = "SMTP after-data: mail.example.com:587: timed out"
    assert advice_on(error, "failed").startswith("The server was unavailable.")
    assert advice_on(error, "uncertain") == "Replay only if the customer may receive the message twice."


def test_what_can_not_be_sent_is_dropped_or_completed() -> None:
    assert advice_on(UNRECORDED).endswith("Drop the dead letter.")
    assert "send the complete event" in advice_on(str(TemplateVariableMissing("ticket", "seats")))
    assert advice_on(None) == advice_on("something else") == "Fix the cause, then replay."
