"""One validator: worker, `events validate`, `templates render`, and JSON Schemas agree on every body."""

from __future__ import annotations

import json
import re
import tempfile
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings, strategies
from jsonschema import Draft202012Validator, FormatChecker

from actors.channels.email.compose import compose
from actors.channels.email.render import Brand, Renderer
from actors.channels.sms.texts import Texts
from app.addresses import InvalidAddress, parse_address
from app.events.catalog import CATALOG, check_event
from app.events.decode import InvalidEvent, decode_event
from app.events.documents import json_schema
from app.events.remarks import remarks
from app.events.samples import sample, sample_names
from cli.main import main

FORMATS = FormatChecker(())
FORMATS.checks("idn-email", InvalidAddress)(
    lambda value: not isinstance(value, str) or bool(parse_address(value))
)
SCHEMAS = {
    event_type: Draft202012Validator(json_schema(event_type), format_checker=FORMATS)
    for event_type in CATALOG
}
RENDERER = Renderer(Brand("MovieApp", "tickets@movieapp.example.com"), "USD")
SMS = Texts("MovieApp", "USD")
SENT_AT = datetime(2026, 12, 1, tzinfo=UTC)


def refusal(body: bytes) -> str | None:
    """Return why the worker refuses a body; None if it accepts it."""
    try:
        check_event(decode_event(body))
    except InvalidEvent as error:
        return str(error)
    return None


def worker(body: bytes) -> str | None:
    """Return why the worker refuses a body; None if it accepts it and all later steps work."""
    if reason := refusal(body):
        return reason
    event, kind = check_event(decode_event(body))
    assert bson.decode(bson.encode({"event_data": event})) == {"event_data": event}
    assert isinstance(remarks(event), list)
    if kind.template is None:
        return None  # for other services, not for customers
    rendered = RENDERER.render(kind.template, event)
    if event.get("user_email"):
        sender = ("MovieApp", "tickets@movieapp.example.com")
        mail = compose(
            rendered, recipient=event["user_email"], sender=sender, message_id="<a@b>", date=SENT_AT
        )
        assert mail.as_bytes().isascii() or mail.needs_smtputf8
    assert SMS.write(event["event_type"], event)
    return None


def by_validate(body: bytes) -> str | None:
    done = CliRunner().invoke(main, ["events", "validate", "-", "--json"], input=body)
    verdict = json.loads(done.stdout)
    assert (done.exit_code == 0) == verdict["valid"]
    reason: str | None = verdict.get("reason")
    return reason


def by_render(template: str, body: bytes) -> str | None:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        done = CliRunner().invoke(main, ["templates", "render", template, "--data", file.name])
        if done.exit_code == 0:
            return None
        assert isinstance(done.exception, SystemExit), done.exception
        return done.stderr.removeprefix(f"Error: {file.name}: ").removesuffix("\n")


def faulty_fields(reason: str) -> set[str]:
    """Return the event's fields that a refusal names."""
    faults = reason.partition(": ")[2].split("; ")
    return {re.split("[.:]", fault)[0] for fault in faults}


def faults_by_schema(event: dict[str, Any]) -> set[str]:
    """Return the event's fields that its JSON Schema refuses."""
    found = set()
    for error in SCHEMAS[event["event_type"]].iter_errors(event):
        if error.absolute_path:
            found.add(str(error.absolute_path[0]))
        elif error.validator == "required":
            found |= set(error.validator_value) - event.keys()
        else:
            found.add(str(error.instance))
    return found


def compare(body: bytes) -> str | None:
    """Assert that all agree on a body; return why it is refused, if it is."""
    reason = worker(body)
    assert by_validate(body) == reason
    try:
        event = decode_event(body)
    except InvalidEvent:
        event = {}
    kind = CATALOG.get(event["event_type"]) if isinstance(event.get("event_type"), str) else None
    template = kind.template or "" if kind else "payment_success"
    if not event.get("user_email") and reason is None:
        template = ""  # not rendered as a mail
    if template:
        assert by_render(template, body) == reason
    if kind is not None:
        assert bool(faults_by_schema(json.loads(body))) == (reason is not None)
        if reason:
            assert faults_by_schema(json.loads(body)) == faulty_fields(reason)
    return reason


@pytest.fixture(autouse=True)
def one_previewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile templates once, not for each example."""
    from actors.channels.email import channel

    monkeypatch.setattr(channel, "Renderer", lambda *_, **__: RENDERER)


ADDRESSES = (
    "",
    " ",
    "jane@example.com",
    "a@example.com, b@example.com",
    "Jane <jane@example.com>",
    "用户@例え.jp",
    "abc..def@docomo.ne.jp",
    '"abc..def"@docomo.ne.jp',
    "jane@\u200b.example",
    "jane@" + "ä" * 60 + ".example",
    "jane@example.com\n",
    "jane@[127.0.0.1]",
    "j\ud83cne@example.com",
    "j" * 64 + "@example.com",
    "用" * 30 + "@example.com",
)
CURRENCIES = ("USD", "usd", "Usd", "840", "ZZZ", "XTS", "EUR\n", "", "JPY", "KWD", "€", "DEM")
ZONES = (
    "America/New_York",
    "america/new_york",
    "US/Eastern",
    "Eastern Standard Time",
    "Mars/Base",
    "+05:30",
    "UTC+14:00",
    "../../etc/passwd",
    "",
    "x" * 201,
    "localtime",
    "W. Europe Standard Time",
    "\ud83c",
)
TIMES = (
    "2036-12-15T20:00:00-05:00",
    "2036-12-15T20:00:00-05:00[America/New_York]",
    "2036-12-15T20:00:00-05:00[Mars/Base]",
    "2036-12-15T20:00:00Z[!Europe/Berlin][u-ca=hebrew]",
    "2036-12-15T20:00:00Z[!u-ca=hebrew]",
    "2036-03-09T02:30",
    "2036-11-02T01:30",
    "2036-12-15",
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+23:59",
    "2036-12-15T20:00:00+23:59:59.999999",
    "tonight",
    " ",
    "",
    "\n",
    "2036-W50-1",
    " " * 490 + "x",
    "[",
    "2036-12-15T20:00[",
)
TEXTS = (
    "The Third Man",
    "",
    " \n",
    "\x00",
    "\ud83c x",
    "Hi 👋🏽 everybody",
    "Ame\u0301lie",
    "\u202eevil",
    "\ufffd",
    "x" * 256,
    "x" * 501,
    "<b>&\"'",
    "%(x)s {0} {{ 7*7 }}",
    "a  b",
    " a ",
    "=?utf-8?q?a?=",
)
AMOUNTS = (
    0,
    -0.0,
    0.1,
    30,
    1e12,
    -1,
    "30.00",
    "30.00\n",
    "1e3",
    "",
    True,
    10**30,
    999_999_999_999,
    5e-324,
)
LISTS: tuple[Any, ...] = (
    [],
    [None],
    ["A1", ""],
    ["A1", " "],
    [1],
    ["x" * 201],
    ["A1"] * 201,
    [["A1"]],
    {},
    "A1",
    [{"showtime": "8 PM"}],
)
OTHERS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    1.5,
    2**63,
    -(2**63),
    "yes",
    "maybe",
    "later",
    "1",
    "1.0",
    2,
    {},
    {"a": {"$b": 1}},
)
POOL = (*ADDRESSES, *CURRENCIES, *ZONES, *TIMES, *TEXTS, *AMOUNTS, *LISTS, *OTHERS)

#: Field → values that are likely to matter.
LIKELY = {
    "user_email": ADDRESSES,
    "currency": CURRENCIES,
    "timezone": ZONES,
    "showtime": TIMES,
    "timestamp": TIMES,
    "seats": LISTS,
    "alternative_showtimes": (
        *LISTS,
        [{"showtime": " ", "cinema_name": None}],
        [{"showtime": 1, "x": 2**64}],
    ),
}

any_json = strategies.recursive(
    strategies.sampled_from(POOL)
    | strategies.integers(-(2**70), 2**70)
    | strategies.floats(allow_nan=False)
    | strategies.text(strategies.characters(), max_size=20),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(strategies.characters(), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@strategies.composite
def bodies(draw: strategies.DrawFn) -> bytes:
    """Bodies of events: valid, changed in a few fields, and broken."""
    event = sample(draw(strategies.sampled_from(sample_names())))
    fields = sorted(CATALOG[event["event_type"]].schema.fields)
    for name in draw(strategies.lists(strategies.sampled_from([*fields, "extra"]), max_size=3)):
        likely = LIKELY.get(name, TEXTS)
        event[name] = draw(strategies.sampled_from(likely) | any_json)
    for name in draw(strategies.lists(strategies.sampled_from(fields), max_size=1)):
        event.pop(name, None)
    body = json.dumps(event).encode()
    broken = draw(strategies.integers(0, 9))
    if broken == 0:
        cut = draw(strategies.integers(0, len(body)))
        body = body[:cut] + draw(
            strategies.sampled_from([b"", b"\x00", b"\xff", b"[" * 40, b"NaN", b'"a":1,'])
        )
    elif broken == 1:
        body = body[:-1] + b',"event_id":"evt_twice"}'
    return body


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bodies())
@example(b"")
@example(json.dumps(sample("booking.confirmed") | {"showtime": "9999-12-31T23:59:59Z"}).encode())
@example(json.dumps(sample("payment.refund") | {"reason": " "}).encode())
def test_all_agree_on_every_body_and_give_the_same_reason(body: bytes) -> None:
    compare(body)


def values_of(name: str) -> tuple[Any, ...]:
    """Return the values to try in a field."""
    return (*LIKELY.get(name, TEXTS), *AMOUNTS, *OTHERS)


@pytest.mark.parametrize("event_type", CATALOG)
def test_worker_and_schema_agree_on_every_value_in_every_field(event_type: str) -> None:
    accepted: dict[str, list[Any]] = {}
    for name in CATALOG[event_type].schema.fields.keys() - {"event_type"}:
        for value in values_of(name):
            body = json.dumps(sample(event_type) | {name: value}).encode()
            reason = refusal(body)
            faults = faults_by_schema(json.loads(body))
            assert bool(faults) == (reason is not None), f"{name}={value!r:.60}: {reason}, {faults}"
            if reason is None:
                accepted.setdefault(name, []).append(value)
    # Every accepted value can be stored, mailed, and texted. Each event has one value of each field.
    for number in range(max(map(len, accepted.values()))):
        event = sample(event_type)
        for name, values in accepted.items():
            tried = event | {name: values[number % len(values)]}
            if refusal(json.dumps(tried).encode()) is None:
                event = tried
            else:  # valid alone, but not beside the values of other fields
                assert worker(json.dumps(sample(event_type) | {name: tried[name]}).encode()) is None
        assert worker(json.dumps(event).encode()) is None
