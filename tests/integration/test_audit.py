"""The audit log: who did what, recorded before the action."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from app import create_app, models
from app.clock import utcnow
from app.errors import ServiceUnavailable
from app.events.samples import sample
from app.keys.store import create_key
from app.messaging.dead_letters import open_dead_letters
from app.models import Notification, OperatorAction
from app.operations import dead_letters
from app.operations.audit import Operator, Surface, find_actions, record_action
from app.operations.dead_letters import Selection, find
from app.operations.notifications import resend
from app.operations.trace import trace
from tests.integration.test_dashboard_access import form_token, sign_in
from tests.support.dead_letters import bury

if TYPE_CHECKING:
    from app.settings import Settings

SUPPORT = Operator("support@ops-1", Surface.CLI)
QUEUE = "notification.booking_events"


@pytest.fixture
def stack(redis_settings: Settings) -> Settings:
    models.connect(redis_settings)
    return redis_settings


def failed_notification() -> Notification:
    event = sample("booking.cancelled")
    notification = Notification(
        event_id=event["event_id"],
        event_type=event["event_type"],
        notification_type="email",
        status="failed",
        booking_id=event["booking_id"],
        recipient=event["user_email"],
        event_data=event,
        created_at=utcnow() - timedelta(minutes=5),
    )
    notification.insert()
    return notification


def fail_to_record(*_: Any) -> None:
    raise ServiceUnavailable("The database is unavailable.")


def test_actions_are_found_by_every_condition(stack: Settings) -> None:
    record_action(SUPPORT, "payments.cancel", "TXN-1", {"amount": Decimal("25.50"), "reason": None})
    record_action(Operator("jane", Surface.DASHBOARD, "key_1"), "keys.revoke", "key_2")
    for conditions in (
        {"operator": "support@ops-1"},
        {"action": "payments.cancel"},
        {"action": "payments"},
        {"target": "TXN-1"},
    ):
        [found] = find_actions(**conditions)  # type: ignore[arg-type]
        assert (found.action, found.details) == ("payments.cancel", {"amount": "25.50"})
    assert [each.target for each in find_actions(operator="key_1")] == ["key_2"]
    assert [each.target for each in find_actions()] == ["key_2", "TXN-1"], "newest first"
    assert find_actions(since=utcnow() + timedelta(minutes=1)) == []
    assert len(find_actions(1)) == 1


def test_an_action_is_part_of_the_timeline_of_its_target(stack: Settings) -> None:
    notification = failed_notification()
    assert resend(str(notification.id), lambda _: None, SUPPORT) is None
    entry = next(each for each in trace(notification.booking_id) if each.subject == SUPPORT.name)
    assert (entry.what, entry.detail["was"]) == ("notifications.resend", "failed")


def test_an_action_that_cannot_be_recorded_is_not_carried_out(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    notification = failed_notification()
    bury(stack, QUEUE, [b"no event"])
    monkeypatch.setattr("app.operations.notifications.record_action", fail_to_record)
    monkeypatch.setattr("app.operations.dead_letters.record_action", fail_to_record)
    with pytest.raises(ServiceUnavailable):
        resend(str(notification.id), lambda _: pytest.fail("queued"), SUPPORT)
    assert notification.reload().status == "failed"
    queues = [stack.namespace + QUEUE]
    with closing(open_dead_letters(stack)) as letters:
        with pytest.raises(ServiceUnavailable):
            list(dead_letters.drop(letters, queues, Selection(), 1, SUPPORT))
        with pytest.raises(ServiceUnavailable):
            list(dead_letters.replay(letters, queues, Selection(), lambda: None, SUPPORT))
        assert len(list(find(letters, queues, Selection()))) == 1


def test_the_dashboard_records_the_key_of_the_operator(stack: Settings) -> None:
    bury(stack, QUEUE, [b"no event"])
    with closing(open_dead_letters(stack)) as letters:
        [case] = find(letters, [stack.namespace + QUEUE], Selection())
    app = create_app(stack.model_copy(update={"auth_required": True}))
    key, token = create_key("jane, on call", ["ops:read", "ops:write"])
    client = app.test_client()
    sign_in(client, token)
    form = {"token": form_token(client.get("/dashboard/payments")), "action": "drop", "id": case.letter.id}
    assert client.post("/dashboard/dead-letters/act", data=form).status_code == 302
    app.extensions["movieapp"].relay.close()
    [action] = find_actions()
    assert (action.operator, action.surface, action.key_id) == ("jane, on call", "dashboard", key.id)
    assert (action.action, action.target) == ("dead_letters.drop", case.letter.id)


def test_the_operator_of_a_command_is_the_user_who_called_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "ops-1")
    monkeypatch.setenv("SUDO_USER", "jane")
    assert Operator.at_command_line() == Operator("jane@ops-1", Surface.CLI)


def test_long_values_are_truncated(stack: Settings) -> None:
    record_action(SUPPORT, "payments.cancel", "T" * 9_000, {"reason": "x" * 9_000, "seats": ["A" * 9_000]})
    [found] = OperatorAction.objects
    assert len(found.target) == len(found.details["reason"]) == len(found.details["seats"][0]) == 500
